import Testing

@testable import S3

@Suite struct CrossOriginTests {
    private func rules(_ body: String) throws -> CrossOrigin {
        try CrossOrigin(Array("<CORSConfiguration>\(body)</CORSConfiguration>".utf8))
    }
    private func rule(_ origin: String, _ method: String, _ more: String = "") -> String {
        "<CORSRule><AllowedOrigin>\(origin)</AllowedOrigin><AllowedMethod>\(method)</AllowedMethod>\(more)</CORSRule>"
    }

    @Test func theFirstRuleThatFitsAnswers() throws {
        let found = try rules(
            rule("https://*.example", "GET", "<AllowedHeader>x-*</AllowedHeader><ExposeHeader>etag</ExposeHeader>")
                + rule("*", "GET") + rule("https://a.example", "PUT", "<MaxAgeSeconds>60</MaxAgeSeconds>"))
        func allowed(_ origin: String, _ method: String, _ asked: [String] = []) -> String? {
            found.headers(origin: origin, method: method, asked: asked)?.first {
                $0.name == "Access-Control-Allow-Origin"
            }?.value
        }
        #expect(allowed("https://a.example", "GET") == "https://a.example")
        #expect(allowed("https://a.example", "GET", ["X-Amz-Date"]) == "https://a.example")
        #expect(allowed("https://a.example", "GET", ["other"]) == nil)
        #expect(allowed("https://elsewhere", "GET") == "*")
        #expect(allowed("https://elsewhere", "PUT") == nil && allowed("https://a.example", "DELETE") == nil)
        #expect(allowed("https://.example.evil", "PUT") == nil)
        let any = try #require(found.headers(origin: "o", method: "GET", asked: []))
        #expect(!any.contains { $0.name == "Access-Control-Allow-Credentials" })
        #expect(try CrossOrigin(found.document).document == found.document)
    }

    @Test func patternsHaveOneWildcard() throws {
        #expect(CrossOrigin.matches("startend", "start*end") && CrossOrigin.matches("start12end", "start*end"))
        #expect(!CrossOrigin.matches("0start1end", "start*end") && !CrossOrigin.matches("aba", "ab*ba"))
        #expect(throws: S3Error.self) { try rules(rule("a*b*", "GET")) }
        #expect(throws: S3Error.self) { try rules(rule("*", "PATCH")) }
        #expect(throws: S3Error.self) { try rules("") }
    }
}
