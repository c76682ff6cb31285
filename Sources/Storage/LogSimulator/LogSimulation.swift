import LogEngine
import Simulation

/// What a run of the simulator came to.
public struct SimulationOutcome: Sendable {
    /// What decided everything in it.
    public let seed: UInt64
    /// What was wrong; nil if nothing.
    public let failure: String?
    /// What was done, one line an operation, if it was asked for; the same seed gives the same lines.
    public let trace: [String]
    /// What happened how often.
    public let counts: SimulationCounts
}

/// What happened how often in some runs.
public struct SimulationCounts: Sendable, Equatable {
    /// Writes that were asked for.
    public var writes = 0
    /// Keys whose value was compared with the model.
    public var reads = 0
    /// Times that an engine was opened.
    public var opens = 0
    /// Losses of power and kills.
    public var crashes = 0
    /// Bytes changed, syncs that failed or lied, writes that went astray, writes refused for want of space.
    public var faults = 0
    /// Answers that damage was found.
    public var reportedDamages = 0
    /// Tables of sequential namespaces that were made anew.
    public var rebuiltTables = 0
    /// Writes that clients were told to be on as many replicas as had to be.
    public var acknowledged = 0

    /// None.
    public init() {}

    /// Adds another run's.
    public mutating func add(_ other: SimulationCounts) {
        writes += other.writes
        reads += other.reads
        opens += other.opens
        crashes += other.crashes
        faults += other.faults
        reportedDamages += other.reportedDamages
        rebuiltTables += other.rebuiltTables
        acknowledged += other.acknowledged
    }
}

/// The engine on a disk that fails, beside a model that knows what was promised; a seed decides all of it.
public enum LogSimulation {
    /// One run; with `compacts` of an engine that compacts its log meanwhile.
    public static func run(seed: UInt64, compacts: Bool = false, isTraced: Bool = false) -> SimulationOutcome {
        run(seed: seed, compacts: compacts, isTraced: isTraced, bug: nil)
    }

    /// One run of a master and its replicas.
    public static func runReplicas(seed: UInt64, isTraced: Bool = false) -> SimulationOutcome {
        runReplicas(seed: seed, isTraced: isTraced, bug: nil)
    }

    static func runReplicas(seed: UInt64, isTraced: Bool = false, bug: PlantedBug?) -> SimulationOutcome {
        ReplicaRun(seed: seed, options: LogOptions().planting(bug), isTraced: isTraced).outcome()
    }

    /// One run of an engine with a bug, which builds for tests have.
    static func run(
        seed: UInt64, compacts: Bool = false, isTraced: Bool = false, bug: PlantedBug?
    ) -> SimulationOutcome {
        Run(seed: seed, options: LogOptions().planting(bug), compacts: compacts, isTraced: isTraced).outcome()
    }

    /// The first seed whose run is wrong with a bug.
    static func seed(finding bug: PlantedBug, in seeds: Range<UInt64>) -> SimulationOutcome? {
        for seed in seeds {
            let outcome =
                bug.isOfReplicas
                ? runReplicas(seed: seed, bug: bug) : run(seed: seed, compacts: bug.isOfCompaction, bug: bug)
            if outcome.failure != nil { return outcome }
        }
        return nil
    }
}

/// Why a run does not go on.
enum Stop: Error {
    /// The machine lost power, or the process was killed.
    case crashed
    /// The engine takes no writes any more, as it should after what the disk did.
    case readOnly
    /// From here on nothing can be said, and nothing wrong was seen.
    case ended
    /// The engine is wrong.
    case wrong(String)
}
