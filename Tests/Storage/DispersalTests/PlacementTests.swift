import Dispersal
import Testing

@Suite struct PlacementTests {
    private func layout(_ farms: Int, _ nodes: Int, _ numbers: inout Numbers) -> [PlaceCandidate] {
        (0..<farms * nodes).map {
            PlaceCandidate(
                number: UInt16($0 + 1), node: "n\($0)", farm: "f\($0 / nodes)",
                weight: Double.random(in: 0.5...4, using: &numbers))
        }
    }

    private func subsets(_ names: [String], _ count: Int) -> [[String]] {
        if count == 0 { return [[]] }
        return names.indices.flatMap { first in
            subsets(Array(names[(first + 1)...]), count - 1).map { [names[first]] + $0 }
        }
    }

    /// What the check allows is placed, and loses no more than it may: compared with every loss there is.
    @Test func aPromiseThatIsGivenIsKept() throws {
        var numbers = Numbers(11)
        var given = 0
        for round in 0..<400 {
            let farms = Int.random(in: 1...5, using: &numbers), nodes = Int.random(in: 1...4, using: &numbers)
            let data = Int.random(in: 1...6, using: &numbers), parity = Int.random(in: 0...4, using: &numbers)
            let promise = Promise(
                nodes: Int.random(in: 0...3, using: &numbers), farms: Int.random(in: 0...2, using: &numbers))
            let candidates = layout(farms, nodes, &numbers)
            do { try Placement.check(data: data, parity: parity, promise: promise, candidates: candidates) } catch {
                continue
            }
            given += 1
            let choice = Placement.choose(
                stripe: [UInt8(truncatingIfNeeded: round), 3], data: data, parity: parity, promise: promise,
                candidates: candidates, keeping: Array(repeating: nil, count: data + parity))
            let placed = choice.shards.compactMap { $0 }
            #expect(!choice.isDegraded && placed.count == data + parity && Set(placed).count == placed.count)
            let used = candidates.filter { placed.contains($0.number) }
            for loss in subsets(Array(Set(candidates.map(\.node))), min(promise.nodes, farms * nodes)) {
                #expect(used.count(where: { !loss.contains($0.node) }) >= data)
            }
            for loss in subsets(Array(Set(candidates.map(\.farm))), min(promise.farms, farms)) {
                #expect(used.count(where: { !loss.contains($0.farm) }) >= data)
            }
        }
        #expect(given > 50)
    }

    @Test func theBindingBoundIsNamed() {
        var numbers = Numbers(1)
        func reason(_ farms: Int, _ nodes: Int, _ data: Int, _ parity: Int, _ promise: Promise) -> String? {
            do {
                try Placement.check(
                    data: data, parity: parity, promise: promise, candidates: layout(farms, nodes, &numbers))
                return nil
            } catch { return "\(error)" }
        }
        #expect(reason(6, 4, 16, 4, Promise(nodes: 4, farms: 1)) == nil)
        #expect(
            reason(4, 6, 16, 4, Promise(nodes: 4, farms: 1))
                == "farms: 4 farms with at most 4 shards each hold 16, 20 are needed")
        #expect(
            reason(3, 2, 8, 2, Promise(nodes: 2, farms: 0))
                == "nodes: 6 nodes with at most 1 shards each hold 6, 10 are needed")
        #expect(reason(9, 9, 4, 2, Promise(nodes: 3, farms: 0))?.hasPrefix("parity: 3 nodes") == true)
    }

    @Test func whatIsKeptCountsAndWhatIsFullIsAvoided() {
        var numbers = Numbers(4)
        var candidates = layout(4, 2, &numbers)
        candidates[3] = PlaceCandidate(number: 4, node: "n3", farm: "f1", weight: 9, hasRoom: false)
        let keeping: [UInt16?] = [1, 2, nil, nil, 5, nil]
        let choice = Placement.choose(
            stripe: [1], data: 4, parity: 2, promise: Promise(nodes: 2, farms: 1), candidates: candidates,
            keeping: keeping)
        #expect(choice.shards[0] == 1 && choice.shards[1] == 2 && choice.shards[4] == 5 && !choice.isDegraded)
        #expect(Set(choice.shards.compactMap { $0 }).count == 6 && !choice.shards.contains(4))
        // Two farms cannot hold six shards with at most two each: all the same they are placed, and it is said.
        let few = Placement.choose(
            stripe: [1], data: 4, parity: 2, promise: Promise(nodes: 2, farms: 1),
            candidates: Array(layout(2, 4, &numbers)), keeping: Array(repeating: nil, count: 6))
        #expect(few.isDegraded && few.shards.allSatisfy { $0 != nil } && few.survivesFarms == 0)
    }

    /// With too few farms the shards are still on as many nodes as there are.
    @Test func nodesAreNotSharedBeforeTheyMustBe() {
        let candidates = (0..<16).map {
            PlaceCandidate(number: UInt16($0 + 1), node: "n\($0 / 2)", farm: "f\($0 / 8)", weight: 1)
        }
        for stripe in UInt8(0)..<50 {
            let choice = Placement.choose(
                stripe: [stripe], data: 4, parity: 2, promise: Promise(nodes: 2, farms: 1), candidates: candidates,
                keeping: Array(repeating: nil, count: 6))
            #expect(choice.isDegraded && choice.survivesNodes == 2)
        }
    }

    @Test func weightsDecideHowMuchComesWhere() {
        let candidates = (1...10).map {
            PlaceCandidate(number: UInt16($0), node: "n\($0)", farm: "f\($0)", weight: $0 == 1 ? 3 : 1)
        }
        var counts = [UInt16: Int]()
        for stripe in 0..<4000 {
            let choice = Placement.choose(
                stripe: [UInt8(stripe & 255), UInt8(stripe >> 8)], data: 1, parity: 0,
                promise: Promise(nodes: 0, farms: 0),
                candidates: candidates, keeping: [nil])
            if let first = choice.shards[0] { counts[first, default: 0] += 1 }
        }
        // 3 of 12 shares are 1,000; the others have 333 each.
        #expect((850...1150).contains(counts[1] ?? 0))
        for number in 2...10 { #expect((240...430).contains(counts[UInt16(number)] ?? 0)) }
    }
}
