import CanonicalJSON
import Crypto
import Glibc
import Linux
import Terminal

/// `zero down`: stops the local grid, removes what could be left, and checks that nothing is.
struct DownCommand {
    let context: Context
    private let folder: GridFolder

    init(_ context: Context) {
        self.context = context
        folder = GridFolder(context)
    }

    func run() async throws {
        guard geteuid() == 0 else { throw CommandError(.failed, "`zero down` needs root", next: "sudo -E zero down") }
        let isPurging = context.invocation.has("purge")
        if isPurging, !context.invocation.has("yes"), folder.exists {
            guard context.console.isInteractive else {
                throw CommandError(
                    .usage, "`--purge` removes all data of the grid", why: "nobody is there to confirm it",
                    next: "add --yes")
            }
            guard context.console.confirm("Remove all data in \(folder.state): contracts, volumes, images, the ledger?")
            else {
                throw CommandError(.failed, "nothing was done", why: "you said no")
            }
        }
        let progress = Progress("stopping the grid in \(folder.path)", on: context.console)
        let core = CoreClient(folder)
        let seconds = try context.seconds("timeout", default: 120)
        let wasUp = try await core.units() != nil
        if wasUp { try await core.shutDown(deadline: .seconds(seconds)) }
        progress.update("removing what is left")
        let leftovers = Leftovers(folder: folder)
        let installation = try? Installation.find()
        await runBlocking { leftovers.remove(installation) }
        let found = await runBlocking { leftovers.find() }
        guard found.isEmpty else {
            progress.fail()
            let list = found.map { "\($0.kind) \($0.name)" }.joined(separator: "\n")
            throw CommandError(
                .failed, "the grid left something behind", why: list, next: "remove it, then `zero down` again")
        }
        if !wasUp, !folder.exists {
            progress.finish("there is no grid")
            return context.console.emit(
                ["grid": .string(folder.path), "was_up": false, "purged": false],
                "There is no grid in \(folder.path)\n")
        }
        if isPurging { try await purge() }
        progress.finish(isPurging ? "the grid is gone" : wasUp ? "the grid is down" : "the grid was down")
        context.console.emit(
            ["grid": .string(folder.path), "was_up": .bool(wasUp), "purged": .bool(isPurging)],
            isPurging
                ? "Removed \(folder.state)\n"
                : "\(wasUp ? "Stopped" : "It was down already"); its data is in \(folder.state)\n")
    }

    private func purge() async throws {
        let (folder, home) = (folder, context.home)
        try await runBlocking {
            if File.exists(folder.state) { try File.removeTree(folder.state) }
            // The folder itself only where nothing else is in it.
            if (try? File.list(folder.path))?.isEmpty == true { _ = rmdir(folder.path) }
            if let grid = try? home.grid(), grid.folder == folder.path {
                try File.remove(home.gridFile)
                let followed = home.path + "/ledger/" + String(grid.ledgerID.hex.prefix(16))
                if File.exists(followed) { try File.removeTree(followed) }
            }
        }
    }
}
