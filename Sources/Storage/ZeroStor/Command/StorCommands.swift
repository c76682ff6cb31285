internal import Terminal

/// Every command of `zero-stor`.
enum StorCommands {
    static let parser = ArgumentParser(root, global: global)

    static let global = [
        OptionSpec(
            "output", short: "o", value: "FORMAT", completion: .words(["table", "json"]),
            "How results are written: table or json."),
        OptionSpec("store", value: "FILE", completion: .file, "The store's settings ($ZERO_STOR_STORE)."),
        OptionSpec("words", value: "FILE", completion: .file, "The owner's recovery words ($ZERO_STOR_WORDS)."),
        OptionSpec(
            "state", value: "DIR", completion: .directory,
            "Where the index is kept between runs ($ZERO_STOR_STATE); without it the log is read each time."),
    ]

    private static let object = ArgumentSpec("object", "bucket/key")
    private static let bucket = ArgumentSpec("bucket", "bucket, or bucket/prefix", optional: true)

    static let root = CommandSpec(
        "zero-stor", "an archive over many Zero-DBs that survives losing nodes and whole farms",
        discussion: """
            Data is cut, compressed, sealed and dispersed before it leaves this machine. Recovery words and the settings
            with the backends' addresses are all that it takes to have everything back.
            """,
        examples: [
            Example("zero-stor words > words", "new recovery words; keep them safe"),
            Example("zero-stor create --store photos.store --words words", "make the store on its backends"),
            Example("zero-stor put pictures/cat.jpg cat.jpg --store photos.store --words words", "put a file into it"),
        ],
        subcommands: [
            CommandSpec("words", "print new recovery words"),
            CommandSpec("create", "check the promise, make namespaces, begin the log"),
            CommandSpec(
                "put", "put a file as an object",
                arguments: [object, ArgumentSpec("file", "a file, or -", completion: .file)]),
            CommandSpec(
                "get", "get an object", arguments: [object, ArgumentSpec("file", "a file, or -", completion: .file)]),
            CommandSpec("list", "list buckets, or objects", arguments: [bucket]),
            CommandSpec("stat", "what is known of an object", arguments: [object]),
            CommandSpec("delete", "delete an object", arguments: [object]),
            CommandSpec("status", "backends, redundancy and space"),
            CommandSpec(
                "check", "read and verify an object's data, or all of a bucket",
                arguments: [ArgumentSpec("object", "bucket/key, or a bucket")]),
            CommandSpec("scrub", "have every shard proved once"),
            CommandSpec("repair", "make missing shards anew"),
            CommandSpec("snapshot", "put a copy of the index into the store and let the log's beginning go"),
            CommandSpec("drain", "move everything off a backend", arguments: [ArgumentSpec("backend", "its number")]),
            CommandSpec(
                "lost", "give a backend up: its shards are made anew elsewhere",
                arguments: [ArgumentSpec("backend", "its number")]),
            CommandSpec(
                "key", "access keys of S3",
                subcommands: [
                    CommandSpec(
                        "add", "make one and print it",
                        arguments: [ArgumentSpec("identity", "whom it acts for")],
                        options: [
                            OptionSpec("owner", "It may do everything."),
                            OptionSpec(
                                "right", value: "BUCKET=RIGHT", repeated: true,
                                "What it may do in a bucket of others: read, write or full."),
                        ]),
                    CommandSpec("list", "list them"),
                    CommandSpec("revoke", "revoke one at once", arguments: [ArgumentSpec("key", "its id")]),
                ]),
        ])
}
