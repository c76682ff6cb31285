/// A moment in the forms that S3 uses; UTC.
struct CivilTime: Equatable {
    var year = 1970, month = 1, day = 1, hour = 0, minute = 0, second = 0

    /// From seconds since 1970 (the algorithm of days in eras of 400 years).
    init(seconds: Int64) {
        var days = seconds >= 0 ? seconds / 86400 : (seconds - 86399) / 86400
        let rest = Int(seconds - days * 86400)
        (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60)
        days += 719_468
        let era = (days >= 0 ? days : days - 146_096) / 146_097
        let dayOfEra = days - era * 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shifted = (5 * dayOfYear + 2) / 153
        day = Int(dayOfYear - (153 * shifted + 2) / 5 + 1)
        month = Int(shifted < 10 ? shifted + 3 : shifted - 9)
        year = Int(yearOfEra + era * 400) + (month <= 2 ? 1 : 0)
    }

    init?(_ year: Int?, _ month: Int?, _ day: Int?, _ hour: Int?, _ minute: Int?, _ second: Int?) {
        guard let year, let month, let day, let hour, let minute, let second, (1...9999).contains(year),
            (1...12).contains(month), (1...31).contains(day), (0...23).contains(hour), (0...59).contains(minute),
            (0...60).contains(second)
        else { return nil }
        (self.year, self.month, self.day) = (year, month, day)
        (self.hour, self.minute, self.second) = (hour, minute, second)
    }

    var days: Int64 {
        let year = Int64(month <= 2 ? self.year - 1 : self.year)
        let era = (year >= 0 ? year : year - 399) / 400
        let yearOfEra = year - era * 400
        let dayOfYear = Int64((153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1)
        return era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear - 719_468
    }
    var seconds: Int64 { days * 86400 + Int64(hour * 3600 + minute * 60 + second) }

    private static func two(_ number: Int) -> String { number < 10 ? "0\(number)" : "\(number)" }
    private static let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
    private static let weekdays = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"]

    /// `Sun, 06 Nov 1994 08:49:37 GMT`
    var httpDate: String {
        let weekday = Self.weekdays[Int(((days % 7) + 7) % 7)]
        return "\(weekday), \(Self.two(day)) \(Self.months[month - 1]) \(year) "
            + "\(Self.two(hour)):\(Self.two(minute)):\(Self.two(second)) GMT"
    }
    /// `20130524`
    var basicDay: String { "\(year)\(Self.two(month))\(Self.two(day))" }
    /// `20130524T000000Z`
    var basic: String { "\(basicDay)T\(Self.two(hour))\(Self.two(minute))\(Self.two(second))Z" }
    /// `2013-05-24T00:00:00.000Z`
    static func iso(milliseconds: Int64) -> String {
        let time = CivilTime(seconds: milliseconds / 1000)
        let fraction = String(milliseconds % 1000 + 1000).dropFirst()
        return "\(time.year)-\(two(time.month))-\(two(time.day))T"
            + "\(two(time.hour)):\(two(time.minute)):\(two(time.second)).\(fraction)Z"
    }

    /// Reads `20130524T000000Z`.
    init?(basic text: String) {
        let bytes = Array(text.utf8)
        guard bytes.count == 16, bytes[8] == 84, bytes[15] == 90 else { return nil }
        func number(_ range: Range<Int>) -> Int? { Int(String(decoding: bytes[range], as: UTF8.self)) }
        self.init(number(0..<4), number(4..<6), number(6..<8), number(9..<11), number(11..<13), number(13..<15))
    }
    /// Reads `2013-05-24T00:00:00.000Z`, also without a fraction, with an offset of zero, or only the day.
    init?(iso text: String) {
        let parts = text.split(separator: "T", maxSplits: 1)
        guard let first = parts.first else { return nil }
        let day = first.split(separator: "-").map { Int($0) }
        guard day.count == 3 else { return nil }
        var clock: [Int?] = [0, 0, 0]
        if parts.count == 2 {
            let plain = parts[1].prefix { $0 != "Z" && $0 != "." && $0 != "+" }
            clock = plain.split(separator: ":").map { Int($0) }
            guard clock.count == 3 else { return nil }
        }
        self.init(day[0], day[1], day[2], clock[0], clock[1], clock[2])
    }
    /// Reads the date of a header: `Sun, 06 Nov 1994 08:49:37 GMT`.
    init?(http text: String) {
        let parts = text.split(separator: " ")
        guard parts.count >= 5, let month = Self.months.firstIndex(of: String(parts[2])) else { return nil }
        let clock = parts[4].split(separator: ":").map { Int($0) }
        guard clock.count == 3 else { return nil }
        self.init(Int(parts[3]), month + 1, Int(parts[1]), clock[0], clock[1], clock[2])
    }
    /// Unix milliseconds of any of the three.
    static func milliseconds(_ text: String) -> Int64? {
        (CivilTime(iso: text) ?? CivilTime(http: text) ?? CivilTime(basic: text)).map { $0.seconds * 1000 }
    }
}
