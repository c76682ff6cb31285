import LedgerStore
import Service

Daemon.main("zero-ledger", options: LedgerDaemon.options) { context in try await LedgerDaemon.run(context) }
