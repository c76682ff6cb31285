/// The fields of a contract file.
enum ContractShape {
    static let contract: [Field] = [
        Field("contract", .text(.contractName), required: true, "Name of the contract, unique among yours."),
        Field(
            "expires", .time, required: true, "When it ends: a day (2027-06-01) or a UTC time (2027-06-01T12:00:00Z)."),
        Field("network", .object(network), "The network that its workloads share."),
        Field("workloads", .list(.workload, limit: ContractLimits.workloads), required: true, "What runs."),
        Field("approvals", .object(approvals), "Whose approval it takes."),
        Field("planner", .text(.identity), "Who may place it besides you."),
    ]

    static let network: [Field] = [
        Field(
            "range", .text(.range), required: true,
            "Private IPv4 range; each node takes a /24 of it. Default 10.42.0.0/16.")
    ]

    static let approvals: [Field] = [
        Field(
            "need", .integer(1...ContractLimits.weight * Int64(ContractLimits.approvers)), required: true,
            "The weight that is enough."),
        Field(
            "of", .map(.identity, .integer(1...ContractLimits.weight), limit: ContractLimits.approvers), required: true,
            "Stakeholders and their weights."),
        Field(
            "on", .list(.choice(ContractAction.allCases.map(\.rawValue)), limit: ContractAction.allCases.count),
            "Actions that need it. Default: all of them."),
    ]

    static let place: [Field] = [
        Field("country", .text(.country), "Country of the node (ISO 3166-1)."),
        Field("farm", .text(.identity), "The farm."),
        Field("node", .text(.identity), "The node itself."),
    ]

    static let mount: [Field] = [
        Field("name", .text(.workloadName), required: true, "A volume of this contract."),
        Field("at", .text(.absolutePath), required: true, "Where the container sees it."),
        Field("read-only", .boolean, "Whether the container may not write. Default: it may."),
    ]

    static let ready: [Field] = [
        Field(
            "http", .text(.requestPath), "A path that answers below 400; an accepted connection is enough without it."),
        Field("port", .integer(1...65_535), required: true, "The port in the container."),
    ]

    /// Fields of each type of workload after the one that names it.
    static func workload(_ type: WorkloadType) -> [Field] {
        switch type {
        case .container: container
        case .volume:
            [
                Field("size", .size(ContractLimits.volume), required: true, "Quota: 1 GiB."),
                Field("place", .object(place), "Where it may be."),
            ]
        case .gateway: [Field("to", .text(.target), required: true, "The container and port it leads to: web:80.")]
        case .zdb: zdb
        default: []
        }
    }

    static let secret: [Field] = [Field("secret", .text(.workloadName), required: true, "Name of the secret.")]

    static let zdb: [Field] = [
        Field("size", .size(ContractLimits.zdb), required: true, "Space that is set aside for it: 1 GiB."),
        Field(
            "mode", .choice(ZDB.Mode.allCases.map(\.rawValue)),
            "How it finds values: by the user's keys, by numbers that count from 0, by keys that stay sorted. Default user."
        ),
        Field("password", .object(secret), "The password that a client gives: { secret: name }. Default: none."),
        Field("public", .boolean, "Whether reading takes no password. Default: it does."),
        Field("worm", .boolean, "Whether what was written once never changes. Default: it may."),
        Field("place", .object(place), "Where it may be."),
    ]

    static let container: [Field] = [
        Field("image", .text(.image), required: true, "The image: yours by its name, another's as <author>/<name>."),
        Field(
            "args", .list(.text(.argument), limit: ContractLimits.arguments),
            "Arguments instead of the image's own; its entry point, if it has one, stays in front."),
        Field("cpu", .cpu, "Share of CPU in cores: 0.5. Default 0.5."),
        Field("memory", .size(ContractLimits.memory), "Memory: 128 MiB. Default 256 MiB."),
        Field(
            "env", .map(.variable, .variable, limit: ContractLimits.environment),
            "Environment: text, or { secret: name }."),
        Field("volumes", .list(.object(mount), limit: ContractLimits.mounts), "Volumes it sees."),
        Field("restart", .choice(RestartPolicy.allCases.map(\.rawValue)), "What happens when it ends. Default always."),
        Field("ready", .object(ready), "When it counts as running."),
        Field(
            "partition", .choice(PartitionPolicy.allCases.map(\.rawValue)),
            "What it does when its node is cut off. Default keep."),
        Field("place", .object(place), "Where it may run."),
    ]

    /// What stands for fields that are left out.
    enum Defaults {
        static let range = "10.42.0.0/16"
        static let cpu: Int64 = 500
        static let memory: Int64 = 256 << 20
        static let restart = RestartPolicy.always
        static let partition = PartitionPolicy.keep
        static let mode = ZDB.Mode.user
    }
}
