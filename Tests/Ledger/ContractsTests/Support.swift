import CanonicalJSON
import Contracts
import Crypto
import Records

let zeroDigest = SHA256.hash([0])

/// An identity that is the same in every run.
func identity(_ name: String) throws -> PublicKey {
    try SigningKey(seed: SHA256.hash(Array(name.utf8)).bytes).publicKey
}

func node(
    _ name: String, cpu: Int64 = 4_000, memory: Int64 = 8 << 30, storage: Int64 = 10 << 30, country: String? = "BE"
)
    throws -> NodeDescription
{
    let body = NodeBody(
        capacity: Capacity(cpu: cpu, memory: memory, storage: storage), country: country,
        sealing: SHA256.hash([1]).bytes, arch: "amd64")
    return NodeDescription(node: try identity(name), body: body)
}

func image(_ name: String, root: Digest = zeroDigest) throws -> ImageReference {
    ImageReference(name: name, author: try identity("author"), root: root, record: zeroDigest)
}

/// The contract in `text` with every image and name that it uses.
func contract(
    _ text: String, version: Int64 = 1, id: Digest? = nil, root: Digest = zeroDigest, file: String = "test.yaml"
) throws -> Contract {
    let draft = try ContractSource.read(Array(text.utf8), file: file)
    var images: [String: ImageReference] = [:]
    for (name, _) in draft.images { images[name] = try image(name, root: root) }
    var identities: [String: PublicKey] = [:]
    for (name, _) in draft.identities { identities[name] = try identity(name) }
    var secrets: [String: SealedSecret] = [:]
    for name in draft.secrets {
        secrets[name] = SealedSecret(box: Array(name.utf8), keys: [try identity("author"): [1, 2, 3]])
    }
    return try draft.resolve(version: version, id: id, images: images, identities: identities, secrets: secrets)
}

let full = """
    contract: hello
    expires: 2027-06-01
    network: { range: 10.42.0.0/16 }
    workloads:
      - container: web
        image: examples/nginx
        cpu: 0.5
        memory: 128 MiB
        args: [nginx, -g, "daemon off;"]
        env: { GREETING: hello, PORT: 80, TOKEN: { secret: api-token } }
        volumes: [ { name: pages, at: /var/www, read-only: true } ]
        restart: on-failure
        ready: { http: "/", port: 80 }
        partition: keep
        place: { country: BE }
      - volume: pages
        size: 1 GiB
      - gateway: hello
        to: web:80
    approvals: { need: 2, of: { alice: 1, auditor: 1, legal: 1 }, on: [deploy, cancel] }
    planner: alice
    """
