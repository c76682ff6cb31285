import Terminal

/// Every command of `zero`: parser, help, completion and the guide come from this table.
enum CommandTable {
    static let parser = ArgumentParser(root, global: global)

    static let global: [OptionSpec] = [
        OptionSpec(
            "output", short: "o", value: "FORMAT", completion: .words(["table", "json"]),
            "How results are written: table or json."),
        OptionSpec(
            "identity", value: "NAME", completion: .command(["identity", "list", "--names"]),
            "Act as this identity ($ZERO_IDENTITY; else `default`, else the only one)."),
        OptionSpec(
            "passphrase-file", value: "FILE", completion: .file,
            "Read the passphrase here instead of $ZERO_PASSPHRASE or asking."),
        OptionSpec("quiet", short: "q", "No progress."),
    ]

    static let root = CommandSpec(
        "zero", "one cloud from machines that nobody administers",
        discussion: """
            A contract says what runs; the machines of the grid read it from a shared ledger, check every signature and
            byte, make it real and keep it real. Results go to standard output, everything else to standard error.
            """,
        examples: [
            Example("zero up", "start a grid of one node on this machine"),
            Example("zero image import build/nginx --name examples/nginx --public", "publish an image"),
            Example("zero deploy Examples/hello.yaml", "sign a contract and wait until it runs"),
        ],
        subcommands: [
            up, status, down, identity, image, plan, deploy, approve, list, describe, logs, exec, events, delete,
            schema,
        ]
            + [completion, version])

    private static let grid = OptionSpec(
        "grid", value: "DIR", completion: .directory, "The grid's folder (default /var/lib/zero).")
    private static let yes = OptionSpec("yes", short: "y", "Do not ask.")
    private static let timeout = OptionSpec("timeout", value: "TIME", "How long to wait: 90 s, 5 m.")
    private static let owner = OptionSpec(
        "owner-passphrase-file", value: "FILE", completion: .file,
        "Passphrase of the owner key, where it is another one ($ZERO_OWNER_PASSPHRASE).")
    private static let contractFile = ArgumentSpec(
        "file", "a contract in YAML or JSON, or - for standard input", completion: .file)
    private static let contract = ArgumentSpec(
        "contract", "a contract: its name, the beginning of its id, or <identity>/<name>",
        completion: .command(["list", "--names"]))
    private static let workload = OptionSpec(
        "workload", short: "w", value: "NAME", "The container; not needed where there is one only.")

    // MARK: The grid

    static let up = CommandSpec(
        "up", "start the local grid and wait until it is ready",
        discussion: """
            Starts the daemons of one node in the background. Running it again is harmless. Needs root. When there is no
            identity yet it makes `default`, if $ZERO_PASSPHRASE or a person gives it a passphrase.
            """,
        options: [
            grid, OptionSpec("http-address", value: "ADDRESS", "Where the gateway listens (default 127.0.0.1)."),
            OptionSpec("http-port", value: "PORT", "The gateway's HTTP port (default 8080)."),
            OptionSpec("ledger-port", value: "PORT", "The ledger's HTTPS port (default 7600)."),
            OptionSpec("pool-size", value: "SIZE", "The storage pool: 20 GiB (default auto; takes space as it fills)."),
            OptionSpec("domain", value: "NAME", "Gateways answer at <name>.NAME (default localhost)."), timeout,
        ],
        examples: [
            Example("zero up", "start or continue the grid in /var/lib/zero"),
            Example("zero up --grid /tmp/g --http-port 8090 --ledger-port 7700", "a second one"),
        ])

    static let status = CommandSpec(
        "status", "show nodes, daemons and workloads", options: [grid],
        examples: [Example("zero status", "for people"), Example("zero status -o json", "for programs")])

    static let down = CommandSpec(
        "down", "stop the local grid and leave nothing of it running",
        discussion:
            "Stops every daemon and workload, and checks that no process, mount, network namespace or bridge is left.",
        options: [
            grid, OptionSpec("purge", "Also remove its data: contracts, volumes, images, the ledger."), yes, timeout,
        ],
        examples: [
            Example("zero down", "stop; `zero up` goes on where it was"),
            Example("zero down --purge --yes", "as if it had never been"),
        ])

    // MARK: Identities

    private static let identityName = ArgumentSpec(
        "name", "the identity", optional: true, completion: .command(["identity", "list", "--names"]))

    static let identity = CommandSpec(
        "identity", "your identities and their keys",
        discussion: """
            An identity is named by its owner key, which follows from 24 recovery words. Daily work signs with an agent key
            of this machine. The two are sealed in files of their own, so that the owner's can be kept elsewhere.
            """,
        examples: [
            Example("zero identity new alice", "make one"), Example("zero identity list", "what there is"),
            Example("zero identity key rotate", "replace this machine's key"),
        ],
        subcommands: [
            CommandSpec(
                "new", "make an identity and show its recovery words",
                arguments: [ArgumentSpec("name", "how you call it here")], options: [owner],
                examples: [Example("zero identity new alice", "make the identity alice")]),
            CommandSpec(
                "list", "identities of this machine", options: [OptionSpec("names", "Names only, one a line.")],
                examples: [Example("zero identity list", "what there is")]),
            CommandSpec(
                "show", "one identity and its keys", arguments: [identityName],
                examples: [Example("zero identity show alice", "address and keys")]),
            CommandSpec(
                "export", "show the recovery words again", arguments: [identityName], options: [owner],
                examples: [Example("zero identity export alice", "the 24 words")]),
            CommandSpec(
                "recover", "bring an identity back from its words",
                discussion:
                    "Makes a new agent key for this machine. If the ledger knows the identity, the key is added there.",
                arguments: [ArgumentSpec("name", "how you call it here")],
                options: [
                    OptionSpec(
                        "words-file", value: "FILE", completion: .file, "Read the words here instead of asking."),
                    OptionSpec("revoke-others", "Take every other agent key its rights."), owner,
                ],
                examples: [Example("zero identity recover alice", "asks for the words")]),
            CommandSpec(
                "password", "show the password of a zdb that was given none",
                discussion: """
                    A zdb's password that no deploy was given a value for follows from the recovery words, the contract's name and the
                    secret's. One that was given (--secret) is not shown here: it is whatever was given.
                    """,
                arguments: [
                    ArgumentSpec("contract", "the contract's name"), ArgumentSpec("secret", "the secret's name in it"),
                ],
                examples: [Example("zero identity password counter index-password", "for redis-cli -a")]),
            CommandSpec(
                "key", "keys that act for an identity",
                examples: [Example("zero identity key list", "which act for you")],
                subcommands: [
                    CommandSpec(
                        "list", "keys and their roles",
                        examples: [Example("zero identity key list", "as the ledger knows them")]),
                    CommandSpec(
                        "add", "let a key act for you",
                        arguments: [
                            ArgumentSpec("key", "its address; this machine's agent key where left out", optional: true)
                        ],
                        options: [
                            OptionSpec(
                                "roles", value: "LIST",
                                "Of deploy, plan, approve, results (default deploy,plan,approve)."),
                            OptionSpec(
                                "scope", value: "NAME", "Only contracts, images and names like this: shop or shop-*."),
                            OptionSpec("until", value: "DATE", "Until this day."), owner,
                        ],
                        examples: [
                            Example("zero identity key add GABC… --roles plan", "let a 3Bot place your contracts")
                        ]),
                    CommandSpec(
                        "revoke", "take a key its rights", arguments: [ArgumentSpec("key", "its address")],
                        options: [owner],
                        examples: [Example("zero identity key revoke GABC…", "its records are refused from now on")]),
                    CommandSpec(
                        "rotate", "replace this machine's agent key by a new one", options: [owner],
                        examples: [Example("zero identity key rotate", "after somebody saw the old one")]),
                ]),
        ])

    // MARK: Images

    private static let imageName = ArgumentSpec(
        "image", "its name; another's as <author>/<name>", completion: .command(["image", "list", "--names"]))

    static let image = CommandSpec(
        "image", "images that containers run",
        examples: [
            Example("zero image import build/nginx --name examples/nginx --public", "publish one"),
            Example("zero image list", "yours, and public ones"),
        ],
        subcommands: [
            CommandSpec(
                "import", "read an OCI layout, archive or folder and publish it",
                discussion: "Private unless --public is said: then only you and the nodes that you choose can read it.",
                arguments: [
                    ArgumentSpec(
                        "path", "an OCI layout, a tar archive, or a folder that is a root file system",
                        completion: .file)
                ],
                options: [
                    OptionSpec("name", value: "NAME", "How contracts call it (default: the last part of the path)."),
                    OptionSpec("public", "Everybody may read it."),
                    OptionSpec("reference", value: "REF", "Which image of a layout that holds several."),
                    OptionSpec("arch", value: "ARCH", repeated: true, "Only this architecture: amd64, arm64."),
                ],
                examples: [Example("zero image import build/nginx --name examples/nginx --public", "for everybody")]),
            CommandSpec(
                "list", "images of yours, and public ones",
                options: [OptionSpec("all", "Those of others too."), OptionSpec("names", "Names only, one a line.")],
                examples: [Example("zero image list", "yours")]),
            CommandSpec(
                "show", "one image", arguments: [imageName],
                examples: [Example("zero image show examples/nginx", "hashes, sizes, what it runs")]),
            CommandSpec(
                "verify", "fetch every chunk of an image and check it", arguments: [imageName],
                examples: [Example("zero image verify examples/nginx", "finds a single flipped byte and says where")]),
            CommandSpec(
                "remove", "take an image's name away", arguments: [imageName], options: [yes],
                examples: [Example("zero image remove examples/nginx", "contracts that run it go on")]),
        ])

    // MARK: Contracts

    private static let secret = OptionSpec(
        "secret", value: "NAME=@FILE", repeated: true,
        "A secret's value from a file (or NAME=- for standard input; else $ZERO_SECRET_<NAME>).")

    static let plan = CommandSpec(
        "plan", "show what a contract would change; change nothing", arguments: [contractFile], options: [secret],
        examples: [Example("zero plan Examples/hello.yaml", "what deploying would do")])

    static let deploy = CommandSpec(
        "deploy", "sign a contract, submit it and wait until it runs",
        discussion:
            "Shows the plan and asks first, where somebody is there to answer. Deploying what is deployed says so and changes nothing.",
        arguments: [contractFile],
        options: [
            yes, secret, OptionSpec("detach", "Do not wait until it runs."),
            OptionSpec("wait-approvals", "Wait for the approvals that it needs, then go on."), timeout,
        ],
        examples: [
            Example("zero deploy Examples/hello.yaml", "ends with the URL"),
            Example("zero deploy shop.yaml --secret db-password=@password.txt --yes", "without questions"),
        ])

    static let approve = CommandSpec(
        "approve", "sign what waits for your approval", arguments: [contract], options: [yes],
        examples: [Example("zero approve GALICE…/shop", "shows what it is first")])

    static let list = CommandSpec(
        "list", "your contracts",
        options: [
            OptionSpec("all", "Those of others and those that are over too."),
            OptionSpec("names", "Names only, one a line."),
        ],
        examples: [Example("zero list", "names, versions, states")])

    static let describe = CommandSpec(
        "describe", "everything about one contract", arguments: [contract],
        options: [
            OptionSpec("source", "The signed text of the version in force."),
            OptionSpec("pending", "With --source: of the version that waits for approvals."),
        ],
        examples: [
            Example("zero describe hello", "workloads, addresses, approvals"),
            Example("zero describe alice/shop --source --pending", "before approving it"),
        ])

    static let logs = CommandSpec(
        "logs", "what a container printed", arguments: [contract],
        options: [
            workload, OptionSpec("follow", short: "f", "Go on as it prints."),
            OptionSpec("tail", short: "n", value: "LINES", "Only the last lines."),
            OptionSpec("timestamps", short: "t", "Put the time before each line."),
        ],
        examples: [
            Example("zero logs hello", "all that is kept"),
            Example("zero logs guestbook -w store -f", "and what comes"),
        ])

    static let exec = CommandSpec(
        "exec", "run a command in a container",
        discussion: "Ends with the command's own status. With a terminal on both sides the command gets one.",
        arguments: [contract, ArgumentSpec("command", "the program and its arguments", rest: true)],
        options: [
            workload, OptionSpec("no-tty", "No terminal, even if there is one."),
            OptionSpec("user", short: "u", value: "USER", "As this user."),
        ],
        examples: [
            Example("zero exec hello -- cat /etc/os-release", "a command"),
            Example("zero exec -w store guestbook -- redis-cli info", "in one of several"),
        ])

    static let events = CommandSpec(
        "events", "what happened to a contract, as signed records", arguments: [contract],
        options: [OptionSpec("follow", short: "f", "Go on as it happens.")],
        examples: [Example("zero events hello", "from the first version on")])

    static let delete = CommandSpec(
        "delete", "end a contract and remove what it made", discussion: "Volumes and what is on them go too.",
        arguments: [contract],
        options: [yes, OptionSpec("detach", "Do not wait until all is removed."), timeout],
        examples: [Example("zero delete hello --yes", "and wait until nothing is left")])

    // MARK: The rest

    static let schema = CommandSpec(
        "schema", "schemas for editors",
        examples: [Example("zero schema contract", "of contract files")],
        subcommands: [
            CommandSpec(
                "contract", "the JSON Schema of contract files",
                examples: [Example("zero schema contract > contract.schema.json", "for an editor's YAML mode")])
        ])

    static let completion = CommandSpec(
        "completion", "completion for a shell",
        arguments: [ArgumentSpec("shell", "bash, zsh or fish", completion: .words(["bash", "zsh", "fish"]))],
        examples: [Example("source <(zero completion bash)", "in this shell")])

    static let version = CommandSpec(
        "version", "version of this program", examples: [Example("zero version", "one line")])
}
