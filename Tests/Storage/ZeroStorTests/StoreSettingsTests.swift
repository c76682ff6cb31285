import ObjectIndex
import Testing

@testable import ZeroStor

@Suite struct StoreSettingsTests {
    private func settings(_ promise: String, farms: Int, nodes: Int) throws -> StoreSettings {
        let lines = (0..<farms * nodes).map { "backend 127.0.0.1:\($0 + 1)/s farm=f\($0 / nodes) node=n\($0)" }
        return try StoreSettings(promise + "\n" + lines.joined(separator: "\n"))
    }

    /// The log outlives what the data outlives: judged over every set of nodes and farms that may go.
    @Test(arguments: [
        (nodes: 1, farms: 0, of: 4, each: 1, members: 4), (nodes: 2, farms: 1, of: 3, each: 2, members: 6),
        (nodes: 2, farms: 1, of: 4, each: 2, members: 6), (nodes: 4, farms: 1, of: 6, each: 4, members: 10),
        (nodes: 4, farms: 1, of: 5, each: 4, members: 10), (nodes: 0, farms: 1, of: 4, each: 3, members: 4),
        (nodes: 1, farms: 0, of: 3, each: 1, members: 3), (nodes: 1, farms: 2, of: 5, each: 2, members: 10),
        (nodes: 0, farms: 0, of: 1, each: 2, members: 2), (nodes: 0, farms: 0, of: 1, each: 1, members: 1),
    ])
    func theLogOutlivesWhatTheDataDoes(_ wanted: (nodes: Int, farms: Int, of: Int, each: Int, members: Int)) throws {
        let found = try settings(
            "survive-nodes \(wanted.nodes)\nsurvive-farms \(wanted.farms)", farms: wanted.of, nodes: wanted.each)
        #expect(found.logMembers.count == wanted.members && found.logShortfall == nil && found.quorum.isSound)
        #expect(found.logUnreachable >= wanted.nodes)
        let farms = (0..<wanted.of).map { farm in
            found.logMembers.count { found.backends[Int($0) - 1].farm == "f\(farm)" }
        }
        #expect(farms.sorted(by: >).prefix(wanted.farms).reduce(0, +) <= found.logUnreachable)
    }

    @Test func aLogThatCannotIsNamed() throws {
        let found = try settings("survive-nodes 2\nsurvive-farms 1", farms: 2, nodes: 2)
        #expect(try #require(found.logShortfall).contains("in at least 3 farms"))
        #expect(found.quorum.isSound)
    }

    @Test func whoNamesMembersIsAskedNoMore() throws {
        let found = try StoreSettings(
            "survive-nodes 1\nlog-unreachable 1\nlog-lying 0\n"
                + (1...5).map { "backend 127.0.0.1:\($0)/s node=n\($0)" + ($0 < 4 ? " log" : "") }.joined(
                    separator: "\n"))
        #expect(found.logMembers == [1, 2, 3] && found.logUnreachable == 1 && found.logShortfall == nil)
    }
}
