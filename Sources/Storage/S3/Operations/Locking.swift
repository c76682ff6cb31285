import HTTP
import Objects

/// The object lock of a bucket.
struct LockRule: Sendable {
    var mode: String?
    var days = 0
    var years = 0

    init() {}

    init(_ document: XMLElement) throws {
        guard document.word("ObjectLockEnabled") == "Enabled" else { throw S3Error.malformedXML }
        guard let rule = document.child("Rule") else { return }
        guard let retention = rule.child("DefaultRetention"), let mode = retention.word("Mode"),
            mode == "GOVERNANCE" || mode == "COMPLIANCE"
        else { throw S3Error.malformedXML }
        self.mode = mode
        let days = retention.word("Days"), years = retention.word("Years")
        guard (days == nil) != (years == nil) else { throw S3Error.malformedXML }
        guard let number = Int(days ?? years ?? ""), number > 0, number <= (days == nil ? 100 : 36_500) else {
            throw S3Error(
                "InvalidRetentionPeriod", 400, "the retention period must be a number of 1 to 36500 days or 100 years")
        }
        if days != nil { self.days = number } else { self.years = number }
    }

    var document: [UInt8] {
        var xml = XMLWriter("ObjectLockConfiguration")
        xml.leaf("ObjectLockEnabled", "Enabled")
        if let mode {
            xml.group("Rule") { xml in
                xml.group("DefaultRetention") { xml in
                    xml.leaf("Mode", mode)
                    if days > 0 { xml.leaf("Days", days) } else { xml.leaf("Years", years) }
                }
            }
        }
        return xml.finished()
    }
    func until(_ now: Int64) -> Int64 { now + Int64(days + years * 365) * 86_400_000 }
}

extension S3Gateway {
    /// Refuses to remove a version that is locked.
    static func checkLock(_ attributes: [String: String], _ now: Int64, bypass: Bool) throws(ObjectError) {
        if attributes[Attribute.legalHold] == "ON" { throw .refused("The object is under a legal hold") }
        guard let mode = attributes[Attribute.lockMode] else { return }
        // A date that cannot be read is no reason to let it go.
        if let until = attributes[Attribute.lockUntil].flatMap({ CivilTime.milliseconds($0) }), until <= now { return }
        if mode == "GOVERNANCE", bypass { return }
        throw .refused("The object is locked until \(attributes[Attribute.lockUntil] ?? "")")
    }
    func bypasses(_ request: S3Request) throws -> Bool {
        guard request.header("x-amz-bypass-governance-retention")?.lowercased() == "true" else { return false }
        try require(.manage, request)
        return true
    }

    /// The lock that a new version gets: by headers, or the bucket's default.
    func lockAttributes(_ request: S3Request, _ bucket: Bucket) throws -> [String: String] {
        let mode = request.header("x-amz-object-lock-mode")
        let until = request.header("x-amz-object-lock-retain-until-date")
        let hold = request.header("x-amz-object-lock-legal-hold")
        guard let document = bucket.settings[Setting.lock] else {
            if mode != nil || until != nil || hold != nil {
                throw S3Error.invalidRequest("Bucket is missing Object Lock Configuration")
            }
            return [:]
        }
        var attributes: [String: String] = [:]
        if let hold {
            guard hold == "ON" || hold == "OFF" else {
                throw S3Error.invalidArgument("Legal Hold must be either of 'ON' or 'OFF'")
            }
            attributes[Attribute.legalHold] = hold
        }
        if mode != nil || until != nil {
            guard let mode, let until else {
                throw S3Error.invalidArgument(
                    "x-amz-object-lock-retain-until-date and x-amz-object-lock-mode must both be supplied")
            }
            let date = try Self.checkedRetention(mode, until, request.now)
            (attributes[Attribute.lockMode], attributes[Attribute.lockUntil]) = (mode, date)
        } else {
            let rule = try LockRule(try XMLElement.parse(document))
            if let mode = rule.mode {
                attributes[Attribute.lockMode] = mode
                attributes[Attribute.lockUntil] = CivilTime.iso(milliseconds: rule.until(request.now))
            }
        }
        return attributes
    }
    private static func checkedRetention(_ mode: String, _ until: String, _ now: Int64) throws -> String {
        guard mode == "GOVERNANCE" || mode == "COMPLIANCE" else { throw S3Error.malformedXML }
        guard let time = CivilTime.milliseconds(until) else { throw S3Error.malformedXML }
        if time <= now { throw S3Error.invalidArgument("The retain until date must be in the future!") }
        return CivilTime.iso(milliseconds: time)
    }

    func getLock(_ request: S3Request) throws -> HTTPStreamResponse {
        guard let document = try require(.manage, request).settings[Setting.lock] else {
            throw S3Error(
                "ObjectLockConfigurationNotFoundError", 404, "Object Lock configuration does not exist for this bucket")
        }
        return HTTPStreamResponse(200, headers: [("Content-Type", "application/xml")], .bytes(document))
    }
    func putLock(_ request: S3Request, _ body: [UInt8]) throws -> HTTPStreamResponse {
        let bucket = try require(.manage, request)
        let rule = try LockRule(try XMLElement.parse(body, root: "ObjectLockConfiguration"))
        if bucket.settings[Setting.lock] == nil, bucket.versioning != .enabled {
            throw S3Error("InvalidBucketState", 409, "Object Lock configuration cannot be enabled on existing buckets")
        }
        try store.setSetting(bucket.name, Setting.lock, rule.document)
        return HTTPStreamResponse(200)
    }

    private func lockable(_ request: S3Request) throws -> Bucket {
        let bucket = try require(.manage, request)
        if bucket.settings[Setting.lock] == nil {
            throw S3Error.invalidRequest("Bucket is missing Object Lock Configuration")
        }
        return bucket
    }
    func getRetention(_ request: S3Request) throws -> HTTPStreamResponse {
        let bucket = try lockable(request)
        let version = try store.version(bucket.name, try request.object(), try request.version())
        guard let mode = version.attributes[Attribute.lockMode], let until = version.attributes[Attribute.lockUntil]
        else { throw Self.noLock }
        var xml = XMLWriter("Retention")
        xml.leaf("Mode", mode)
        xml.leaf("RetainUntilDate", until)
        return .xml(xml)
    }
    private static let noLock = S3Error(
        "NoSuchObjectLockConfiguration", 404, "The specified object does not have a ObjectLock configuration")

    func putRetention(_ request: S3Request, _ body: [UInt8]) throws -> HTTPStreamResponse {
        let bucket = try lockable(request)
        let document = try XMLElement.parse(body, root: "Retention")
        let mode = document.word("Mode"), until = document.word("RetainUntilDate")
        var date: String?
        if mode != nil || until != nil {
            guard let mode, let until else { throw S3Error.malformedXML }
            date = try Self.checkedRetention(mode, until, request.now)
        }
        let bypass = try bypasses(request), now = request.now, newUntil = date.flatMap { CivilTime.milliseconds($0) }
        let change: [String: String?] = [Attribute.lockMode: mode, Attribute.lockUntil: date]
        _ = try store.setAttributes(bucket.name, try request.object(), try request.version(), change) {
            version throws(ObjectError) in
            guard let attributes = version?.attributes, let old = attributes[Attribute.lockMode],
                let oldUntil = attributes[Attribute.lockUntil].flatMap({ CivilTime.milliseconds($0) }), oldUntil > now
            else { return }
            let isLonger = newUntil.map { $0 >= oldUntil } ?? false
            if isLonger, mode == old { return }
            if old == "GOVERNANCE", bypass { return }
            throw .refused("The object is locked; its retention cannot be made weaker")
        }
        return HTTPStreamResponse(200)
    }
    func getLegalHold(_ request: S3Request) throws -> HTTPStreamResponse {
        let bucket = try lockable(request)
        let version = try store.version(bucket.name, try request.object(), try request.version())
        guard let hold = version.attributes[Attribute.legalHold] else { throw Self.noLock }
        var xml = XMLWriter("LegalHold")
        xml.leaf("Status", hold)
        return .xml(xml)
    }
    func putLegalHold(_ request: S3Request, _ body: [UInt8]) throws -> HTTPStreamResponse {
        let bucket = try lockable(request)
        let document = try XMLElement.parse(body, root: "LegalHold")
        guard let status = document.word("Status"), status == "ON" || status == "OFF" else {
            throw S3Error.malformedXML
        }
        _ = try store.setAttributes(
            bucket.name, try request.object(), try request.version(), [Attribute.legalHold: status]
        ) { _ throws(ObjectError) in }
        return HTTPStreamResponse(200)
    }
}
