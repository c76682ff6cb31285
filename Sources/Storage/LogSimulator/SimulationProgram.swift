import LogEngine

/// The program `zero-db-simulate`: long runs of the simulator, and one run with all that it does.
public enum SimulationProgram {
    static let usage = """
        usage: zero-db-simulate [--seeds A..B] [--seed N [--trace]] [--compaction | --replicas]

        Runs Zero-DB's engine on a simulated disk that loses power, tears, loses and misdirects writes, lies, rots and runs
        full, beside a model that knows what was promised. Prints each seed whose run was wrong; the same seed repeats it.

          --seeds A..B   these seeds (default 0..2000)
          --seed N       one seed
          --trace        print what is done
          --compaction   of an engine that compacts its log meanwhile
          --replicas     of a master and replicas over a network that cuts, on machines that die, with promotions
          --bugs         print which seed finds each of the bugs that test builds of the engine have

        """

    private enum Kind { case disk, compaction, replicas }

    /// Runs it to its end; returns the exit status: 0 if nothing was wrong, 1 if something was, 2 for wrong arguments.
    public static func run(arguments: [String]) -> Int32 {
        var seeds: Range<UInt64> = 0..<2000
        var (isTraced, isProof) = (false, false)
        var kind = Kind.disk
        var bug: PlantedBug?
        var index = 0
        while index < arguments.count {
            let value = index + 1 < arguments.count ? arguments[index + 1] : ""
            switch arguments[index] {
            case "--trace":
                isTraced = true
                index -= 1
            case "--compaction", "--replicas":
                kind = arguments[index] == "--replicas" ? .replicas : .compaction
                index -= 1
            case "--bugs":
                isProof = true
                index -= 1
            case "--bug":
                guard let named = PlantedBug(rawValue: value) else { return refuse() }
                bug = named
            case "--seed":
                guard let seed = UInt64(value), seed < .max else { return refuse() }
                seeds = seed..<seed + 1
            case "--seeds":
                let parts = value.split(separator: ".").compactMap { UInt64($0) }
                guard parts.count == 2, parts[0] <= parts[1] else { return refuse() }
                seeds = parts[0]..<parts[1]
            default: return refuse()
            }
            index += 2
        }
        return isProof ? prove(seeds) : simulate(seeds, kind, isTraced, bug)
    }

    /// The simulator proves itself.
    private static func prove(_ seeds: Range<UInt64>) -> Int32 {
        #if DEBUG
        var missed = 0
        for bug in PlantedBug.allCases {
            if let found = LogSimulation.seed(finding: bug, in: seeds) {
                print("\(bug): found by seed \(found.seed): \(found.failure ?? "")")
            } else {
                missed += 1
                print("\(bug): NOT FOUND in \(seeds.count) seeds")
            }
        }
        return missed == 0 ? 0 : 1
        #else
        print("this build has no planted bugs; use a debug build")
        return 2
        #endif
    }

    private static func refuse() -> Int32 {
        print(usage, terminator: "")
        return 2
    }

    private static func simulate(
        _ seeds: Range<UInt64>, _ kind: Kind, _ isTraced: Bool, _ bug: PlantedBug?
    ) -> Int32 {
        var counts = SimulationCounts()
        var wrong = 0
        for seed in seeds {
            let outcome =
                kind == .replicas
                ? LogSimulation.runReplicas(seed: seed, isTraced: isTraced, bug: bug)
                : LogSimulation.run(seed: seed, compacts: kind == .compaction, isTraced: isTraced, bug: bug)
            counts.add(outcome.counts)
            for line in outcome.trace { print(line) }
            if let failure = outcome.failure {
                wrong += 1
                print("seed \(seed): \(failure)")
            }
        }
        print(
            "\(seeds.count) seeds, \(wrong) wrong; \(counts.writes) writes, \(counts.reads) reads, \(counts.opens) starts, "
                + "\(counts.crashes) ends, \(counts.faults) faults, \(counts.reportedDamages) damages reported, "
                + "\(counts.rebuiltTables) tables made anew, \(counts.acknowledged) writes answered")
        return wrong == 0 ? 0 : 1
    }
}
