import HTTP

/// Requests over HTTPS; who answers must have the pinned public key.
struct HTTPSTransport: LedgerTransport {
    private let url: String
    private let client: HTTPClient

    init(_ endpoint: LedgerEndpoint) {
        url = endpoint.url
        client = HTTPClient(pin: "sha256//" + endpoint.pin)
    }

    func exchange(
        _ method: String, _ path: String, body: [UInt8], deadline: Duration
    ) async throws(LedgerError) -> LedgerAnswer {
        do {
            let response = try await client.request(
                method, url + path, body: method == "GET" ? nil : body, deadline: deadline,
                bodyMax: LedgerClient.answerBytesMax)
            return LedgerAnswer(status: response.status, body: response.body)
        } catch { throw HTTPSTransport.error(error, url) }
    }

    private static func error(_ error: HTTPClientError, _ url: String) -> LedgerError {
        let code =
            switch error {
            case .late: LedgerError.deadline
            case .wrongPin: LedgerError.wrongPin
            case .tooLarge: LedgerError.malformed
            default: LedgerError.unreachable
            }
        return LedgerError(code, url, error.description)
    }
}

extension LedgerClient {
    /// A client of the ledger at an endpoint.
    public convenience init(_ endpoint: LedgerEndpoint) {
        self.init(id: endpoint.id, transport: HTTPSTransport(endpoint))
    }
}
