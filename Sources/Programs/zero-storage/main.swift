import Linux
import Service
import StoragePools

// Disks into volumes with quota, snapshot and send.
Daemon.main(
    "storage",
    options: [
        .text(
            "pool-size", "size of the pool's file, such as 20 GiB; auto is 20 GiB or 80 % of what is free",
            default: "auto")
    ],
    commands: [
        DaemonCommand("unmount", "unmount the pool, after everything that used it was stopped") { context in
            try await runBlocking { try PoolDevice(folder: context.folder).unmount() }
        }
    ]
) { context in
    let pool = try await runBlocking {
        let device = PoolDevice(folder: context.folder)
        try device.open(size: device.size(context.settings.text("pool-size")))
        return try Pool(device)
    }
    let zdbs = try ZDBKeeper(folder: context.folder + "/zdbs", run: context.run) { try pool.diskLeft() }
    let service = StorageService(pool, zdbs, log: context.log)
    service.register(on: context.server, context.metrics)
    try await withThrowingDiscardingTaskGroup { group in
        group.addTask { try await service.watch() }
        try await context.serve()
        group.cancelAll()
    }
}
