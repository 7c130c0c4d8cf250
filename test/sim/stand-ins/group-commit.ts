/** The product's group commit. Worlds are small: with the product's threshold almost no calls would be grouped. */
import { type Commits, GroupCommit as ProductGroupCommit } from '../../../src/tenant/group-commit.ts'

export class GroupCommit extends ProductGroupCommit {
  constructor(commits: Commits) {
    super(commits, 2)
  }
}
