/** The SQL and the alarm of a Durable Object, as the cores use them. */
import { Alarm } from './alarm.ts'
import type { Sql, SqlRow } from './store/sql.ts'

export function durableSql(sql: SqlStorage): Sql {
  return {
    all: (query, ...values) => sql.exec<SqlRow>(query, ...values).toArray(),
    run: (query, ...values) => void sql.exec(query, ...values),
  }
}

/** Call it in the constructor: the object takes calls after its stored alarm is known. */
export function durableAlarm(state: DurableObjectState): Alarm {
  const alarm = new Alarm((time) => state.waitUntil(state.storage.setAlarm(time)))
  void state.blockConcurrencyWhile(async () => alarm.restore(await state.storage.getAlarm()))
  return alarm
}
