import Objects

/// An error as S3 says it: a code that clients know, a status, a sentence.
struct S3Error: Error, Sendable {
    let code: String
    let status: Int
    let message: String
    /// More elements of the document, such as `BucketName`.
    var details: [(name: String, value: String)] = []
    /// More headers of the answer.
    var headers: [(name: String, value: String)] = []

    init(_ code: String, _ status: Int, _ message: String) {
        (self.code, self.status, self.message) = (code, status, message)
    }

    static func invalidArgument(_ message: String) -> S3Error { S3Error("InvalidArgument", 400, message) }
    static func invalidRequest(_ message: String) -> S3Error { S3Error("InvalidRequest", 400, message) }
    static func notImplemented(_ name: String) -> S3Error {
        S3Error("NotImplemented", 501, "\(name) is not implemented")
    }
    static func accessDenied(_ message: String = "Access Denied") -> S3Error {
        S3Error("AccessDenied", 403, message)
    }
    static let malformedXML = S3Error("MalformedXML", 400, "The XML is not well-formed or does not fit the operation")
    static let preconditionFailed = S3Error(
        "PreconditionFailed", 412, "At least one of the pre-conditions you specified did not hold")
    static let noSuchKey = S3Error("NoSuchKey", 404, "The specified key does not exist.")

    /// What an error of the store is called here.
    init(_ error: ObjectError) {
        let text = error.description
        switch error {
        case .noSuchBucket(let name):
            self.init("NoSuchBucket", 404, "The specified bucket does not exist")
            details = [("BucketName", name)]
        case .bucketExists: self.init("BucketAlreadyExists", 409, text)
        case .bucketNotEmpty: self.init("BucketNotEmpty", 409, text)
        case .noSuchKey(let key):
            self.init("NoSuchKey", 404, "The specified key does not exist.")
            details = [("Key", key.description)]
        case .noSuchVersion: self.init("NoSuchVersion", 404, text)
        case .deleteMarker(_, let version, let asked):
            if asked {
                self.init("MethodNotAllowed", 405, "The version is a delete marker")
                headers = [("Allow", "DELETE")]
            } else {
                self.init("NoSuchKey", 404, "The specified key does not exist.")
            }
            headers += [("x-amz-delete-marker", "true"), ("x-amz-version-id", version.description)]
        case .noSuchUpload: self.init("NoSuchUpload", 404, text)
        case .invalidPart: self.init("InvalidPart", 400, text)
        case .conditionFailed(let name):
            self.init("PreconditionFailed", 412, Self.preconditionFailed.message)
            details = [("Condition", name)]
        case .refused: self.init("AccessDenied", 403, text)
        case .wrongKey: self.init("AccessDenied", 403, text)
        case .full: self.init("SlowDown", 503, text)
        case .busy: self.init("SlowDown", 503, text)
        case .unavailable, .notWriter: self.init("ServiceUnavailable", 503, text)
        case .damaged: self.init("InternalError", 500, text)
        }
    }
}
