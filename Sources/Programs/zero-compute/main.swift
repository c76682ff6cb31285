import Containers
import Service

// Keeps containers as zero-provision orders them: a mount and a shim each, started by zero-core.
Daemon.main("zero-compute") { context in
    let service = try ComputeService(context)
    service.register(on: context.server)
    try await withThrowingTaskGroup(of: Void.self) { group in
        group.addTask { await service.watch() }
        group.addTask { try await context.serve() }
        try await group.next()
        group.cancelAll()
    }
}
