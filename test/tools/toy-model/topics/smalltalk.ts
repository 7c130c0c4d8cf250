import { type Exchange, exchange } from '../chat.ts'
import type { Random } from '../random.ts'

const TALK: readonly { asks: readonly string[]; answers: readonly string[] }[] = [
  {
    asks: [
      'Hello!',
      'Hi',
      'Hello there',
      'Good morning!',
      'Hey!',
      'hello',
      'Hi there!',
      'Good evening',
      'hey',
      'Hello',
      'Hi!',
    ],
    answers: ['Hello! I am a toy model. Ask me for a sum, a story, a list or about Tramontane.'],
  },
  {
    asks: ['How are you?', 'How do you feel today?', 'How is it going?', 'are you well?', 'Hello, how are you?'],
    answers: ['I am running well, thank you.'],
  },
  {
    asks: ['Thank you!', 'Thanks', 'Great, thank you.', 'thanks a lot', 'Thank you very much.', 'Perfect, thanks!'],
    answers: ['You are welcome!'],
  },
  { asks: ['Goodbye', 'Bye!', 'See you later.', 'bye', 'Good night', 'See you tomorrow'], answers: ['Goodbye!'] },
  {
    asks: ['Good.', 'ok', 'Okay', 'Nice!', 'I see.', 'Great', 'Cool', 'yes', 'no', 'Wow!'],
    answers: ['What would you like next? A sum, a story, a list, or something about Tramontane?'],
  },
  {
    asks: ['test', 'Test', 'testing', 'ping', 'Ping', 'this is a test', 'Testing, one two three'],
    answers: ['It works.'],
  },
]

export function smalltalk(random: Random): Exchange {
  const { asks, answers } = random.pick(TALK)
  return exchange(random.pick(asks), 'A short friendly answer.', random.pick(answers))
}
