internal import Bus
internal import Linux
internal import RESP

/// Doors of contracts in the node's Zero-DB for tenants: listening sockets inside a contract's namespace, each of which leads to
/// one namespace of the store. Blocking.
///
/// The store keeps a door by its label and forgets all of them when it ends; who asks again and again has them opened anew.
struct StoreDoors: Sendable {
    /// One door: where it stands and where it leads.
    struct Door: Hashable, Sendable {
        let label: String
        let address: String
        let port: Int64
        let namespace: String
    }

    private let client: RESPClient
    private let socket: String
    private let helper: String

    /// Doors of the store at `socket`; `helper` is the program `zero-door`.
    init(socket: String, helper: String) {
        (self.socket, self.helper) = (socket, helper)
        client = RESPClient(unix: socket)
    }

    /// Labels of the doors that are open.
    func open() throws(BusError) -> Set<String> {
        let reply = try call("DOORS")
        return Set((reply.items ?? []).compactMap { $0.items?.first?.text })
    }

    /// Opens one in a network namespace.
    func open(_ door: Door, in netns: String) throws(BusError) {
        let words = ["netns", "exec", netns, helper, socket, door.namespace, door.label, door.address, "\(door.port)"]
        let done: Subprocess.Output
        do throws(SubprocessError) {
            done = try Subprocess.run("ip", words, timeout: 20)
        } catch { throw .failed("\(door.address):\(door.port): \(error)") }
        guard done.status == 0 else {
            let why = done.errorText.split(separator: "\n").first.map(String.init) ?? "status \(done.status)"
            throw .failed("\(door.address):\(door.port): \(why)")
        }
    }

    /// Closes one; fine where there is none.
    func close(_ label: String) throws(BusError) { _ = try call("UNLISTEN", label) }

    private func call(_ words: String...) throws(BusError) -> RESPValue {
        let reply: RESPValue
        do throws(RESPClientError) {
            reply = try client.call(words.map { Array($0.utf8) }, deadline: .seconds(5))
        } catch { throw BusError(error) }
        if let failure = reply.failure { throw BusError(code: failure.code, message: failure.message) }
        return reply
    }
}

extension ContractNetwork {
    /// What the labels of this contract's doors begin with.
    var doorPrefix: String { "\(contract.prefix(16))/" }

    /// The doors of a store, one for each family. A namespace of the same name that was made anew is another one.
    func doors(of store: Store, to namespace: String, inode: UInt64) -> [StoreDoors.Door] {
        [("4", store.address), ("6", store.address6)].map { family, address in
            StoreDoors.Door(
                label: "\(doorPrefix)\(store.name)/\(family)/\(inode)", address: address, port: store.port,
                namespace: namespace)
        }
    }
}
