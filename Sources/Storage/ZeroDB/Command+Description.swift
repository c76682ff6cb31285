extension Command {
    /// Its words and what it does, for `COMMAND DOCS`; `Documentation/zero-db.md` has the rest.
    var summary: StaticString {
        switch self {
        case .unknown: ""
        case .get: "GET key [AT time | FROM a TO b]: the value, as it was at a time, or a part of it"
        case .set, .setx:
            "SET key value [IFABSENT | IFSEQ n | NX | XX] [EPOCH e] [RETURN SEQ]: a new version of the key"
        case .mget: "MGET key [key ...]: values, null for each key that is not there"
        case .mset: "MSET key value [key value ...]: all of them or none"
        case .del: "DEL key [key ...]: ends keys; how many there were"
        case .exists: "EXISTS key [key ...]: how many there are"
        case .length: "LENGTH key: bytes of the value, or null"
        case .keyseq: "KEYSEQ key: the sequence number of its version or of its deletion, or 0"
        case .getseq: "GETSEQ key: sequence number and value, or null"
        case .scan: "SCAN cursor [MATCH pattern] [COUNT n], SCAN [write-cursor]: keys, and the cursor to go on from"
        case .dbsize: "DBSIZE: how many keys the namespace has"
        case .range: "RANGE from to [LIMIT n] [REVERSE] [AFTER key] [VALUES]: keys of an ordered namespace"
        case .prefix: "PREFIX prefix [LIMIT n] [REVERSE] [AFTER key] [VALUES]: keys of an ordered namespace"
        case .kscan: "KSCAN prefix [COUNT n] [cursor]: keys with a prefix"
        case .batch: "BATCH n (SET key value [IFABSENT | IFSEQ s] | DEL key [IFSEQ s]) ...: all or nothing"
        case .proof: "PROOF key ROOT | PROOF key leaf [leaf ...]: Merkle root, leaves and their paths"
        case .check: "CHECK key: 1 if its bytes match their checksums, 0 if not, null if there is none"
        case .keytime: "KEYTIME key: when it was written, seconds since 1970"
        case .keycur: "KEYCUR key: the cursor from which SCANX goes on behind the key"
        case .scanx: "SCANX [cursor]: keys from the oldest write on"
        case .rscan: "RSCAN [cursor]: keys from the newest write on"
        case .history: "HISTORY key [cursor]: one version: cursor of the one before, time, value"
        default: rest
        }
    }

    private var rest: StaticString {
        switch self {
        case .multi: "MULTI: what follows is kept until EXEC"
        case .exec: "EXEC: all of it or nothing"
        case .discard: "DISCARD: forgets what was kept since MULTI"
        case .watch: "WATCH key [key ...]: EXEC does nothing if one of them changed"
        case .unwatch: "UNWATCH: forgets what is watched"
        case .ping: "PING [message]"
        case .echo: "ECHO message"
        case .hello: "HELLO [2|3 [AUTH user password] [SETNAME name]]: the protocol's version"
        case .auth: "AUTH [user] password | AUTH SECURE CHALLENGE [user] | AUTH SECURE proof [nonce]"
        case .select: "SELECT namespace [password | SECURE proof [nonce]]: by name; 0 is default"
        case .epoch: "EPOCH [n]: the epoch of this connection's writes"
        case .next: "NEXT: the next sequence number"
        case .quit: "QUIT: closes the connection"
        case .reset: "RESET: the connection is as it was at first"
        case .time: "TIME: seconds since 1970, and microseconds"
        case .info: "INFO [section ...]: server clients memory persistence device damage stats replication keyspace"
        case .command: "COMMAND [COUNT | LIST | INFO name ... | DOCS name ... | GETKEYS command ...]"
        case .client: "CLIENT ID | INFO | GETNAME | SETNAME name | SETINFO attribute value | LIST | KILL ID n"
        case .config: "CONFIG GET pattern ... | RELOAD | RESETSTAT"
        case .wait: "WAIT command|* [ms]: until somebody else executes it; WAIT n ms: until n replicas have all"
        case .mirror: "MIRROR: from here on every command of everybody"
        default: administration
        }
    }

    private var administration: StaticString {
        switch self {
        case .nsnew: "NSNEW namespace [MODE user|seq|ordered]: makes a namespace"
        case .nsdel: "NSDEL namespace [WIPE]: removes a namespace with all in it, and overwrites it"
        case .compact: "COMPACT: begins to compact all that has anything to give"
        case .nslist: "NSLIST: names of the namespaces"
        case .nsinfo: "NSINFO namespace: what it is and holds"
        case .nsset: "NSSET namespace property value: changes a property"
        case .nsfence: "NSFENCE namespace epoch: writers of a lower epoch are refused from now on"
        case .flush: "FLUSH: only of an empty namespace"
        case .status: "DB.STATUS: JSON"
        case .metrics: "DB.METRICS: Prometheus text"
        case .hooks: "HOOKS: hooks that run or ended within a minute"
        case .listen: "LISTEN namespace label: a listening socket that came beside it becomes a door"
        case .unlisten: "UNLISTEN label: closes such a door"
        case .doors: "DOORS: label and namespace of each"
        case .nsjump: "NSJUMP: ends the segment"
        case .reload: "RELOAD: reads the settings again"
        case .index: "INDEX DIRTY [RESET]: always empty, as nothing is written in place"
        case .zsync: "ZSYNC: how a replica asks for the log"
        case .waitreplicas: "WAITREPLICAS n ms: until n replicas have everything"
        case .promote: "PROMOTE [epoch]: this replica becomes the master"
        case .demote: "DEMOTE epoch: a master of that epoch exists, nothing is written here any more"
        case .replicaof: "REPLICAOF host port [DISCARD] | unix:PATH - [DISCARD] | NO ONE"
        case .role: "ROLE: master or slave, and of whom"
        default: "see Documentation/zero-db.md"
        }
    }

    /// Redis' name for where it belongs.
    var group: StaticString {
        switch self {
        case .multi, .exec, .discard, .watch, .unwatch: "transactions"
        case .ping, .echo, .hello, .auth, .select, .quit, .reset, .client, .epoch: "connection"
        case .get, .set, .setx, .mget, .mset, .length, .getseq, .keyseq, .history, .check, .batch, .proof: "string"
        case .del, .exists, .scan, .scanx, .rscan, .kscan, .range, .prefix, .keytime, .keycur, .wait, .waitreplicas:
            "generic"
        default: "server"
        }
    }

    /// Where keys stand among the arguments: the first, the last (from the end on: below 0), and how far apart.
    var keys: (first: Int, last: Int, step: Int) {
        switch self {
        case .get, .set, .setx, .check, .keytime, .keycur, .history, .length, .keyseq, .getseq, .proof: (1, 1, 1)
        case .mget, .del, .exists, .watch: (1, -1, 1)
        case .mset: (1, -1, 2)
        default: (0, 0, 0)
        }
    }
}
