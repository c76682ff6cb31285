/// Sizes, shares of CPU and times as people write them.
public enum Units {
    /// Units of size by the name that contracts use.
    public static let sizes: [(name: String, bytes: Int64)] = [
        ("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40),
    ]

    /// Bytes of `512 MiB`, `1.5 GiB`, `1TiB` or a bare number of bytes; the result must be whole.
    public static func size(_ text: String) -> Int64? {
        let (number, unit) = split(text)
        guard let scale = unit.isEmpty ? 1 : sizes.first(where: { $0.name == unit })?.bytes else { return nil }
        return scaled(number, by: scale)
    }

    /// The largest unit that gives a whole number: `128 MiB`.
    public static func sizeText(_ bytes: Int64) -> String {
        for (name, scale) in sizes.reversed() where bytes >= scale && bytes % scale == 0 {
            return "\(bytes / scale) \(name)"
        }
        return "\(bytes) B"
    }

    /// Thousandths of a core of `0.5`, `2` or `250m`.
    public static func cpu(_ text: String) -> Int64? {
        if text.hasSuffix("m") { return scaled(String(text.dropLast()), by: 1) }
        return scaled(text, by: 1_000)
    }

    /// `0.5` of 500 thousandths.
    public static func cpuText(_ milli: Int64) -> String {
        let (whole, rest) = (milli / 1_000, milli % 1_000)
        guard rest != 0 else { return String(whole) }
        var fraction = String(1_000 + rest).dropFirst()
        while fraction.last == "0" { fraction = fraction.dropLast() }
        return "\(whole).\(fraction)"
    }

    /// Milliseconds of `30 s`, `500 ms`, `10 m`, `2 h` or `90 d`.
    public static func duration(_ text: String) -> Int64? {
        let (number, unit) = split(text)
        let scales: [String: Int64] = ["ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000]
        guard let scale = scales[unit] else { return nil }
        return scaled(number, by: scale)
    }

    /// Unix ms of `2027-06-01` (midnight UTC) or `2027-06-01T12:30:00Z`.
    public static func time(_ text: String) -> Int64? {
        let bytes = Array(text.utf8)
        guard bytes.count == 10 || bytes.count == 20 else { return nil }
        guard let year = digits(bytes[0..<4]), bytes[4] == 0x2D, let month = digits(bytes[5..<7]),
            bytes[7] == 0x2D, let day = digits(bytes[8..<10])
        else { return nil }
        guard year >= 1970, (1...12).contains(month), day >= 1, day <= monthLength(month, year) else { return nil }
        var seconds = daysSinceEpoch(year, month, day) * 86_400
        if bytes.count == 20 {
            guard bytes[10] == 0x54, bytes[13] == 0x3A, bytes[16] == 0x3A, bytes[19] == 0x5A,
                let hour = digits(bytes[11..<13]), let minute = digits(bytes[14..<16]),
                let second = digits(bytes[17..<19]),
                hour < 24, minute < 60, second < 60
            else { return nil }
            seconds += hour * 3_600 + minute * 60 + second
        }
        return seconds * 1_000
    }

    /// `2027-06-01` where it is midnight, else `2027-06-01T12:30:00Z`.
    public static func timeText(_ milliseconds: Int64) -> String {
        let seconds = max(0, milliseconds) / 1_000
        let days = seconds / 86_400
        let rest = seconds - days * 86_400
        let (year, month, day) = civil(days)
        let date = "\(year)-\(padded(month))-\(padded(day))"
        return rest == 0 ? date : date + "T\(padded(rest / 3_600)):\(padded(rest / 60 % 60)):\(padded(rest % 60))Z"
    }

    private static func split(_ text: String) -> (number: String, unit: String) {
        let end = text.firstIndex { !($0.isASCII && ($0.isNumber || $0 == ".")) } ?? text.endIndex
        var unit = text[end...]
        if unit.first == " " { unit = unit.dropFirst() }
        return (String(text[..<end]), String(unit))
    }

    /// `number * scale` exactly, or nil where it is no decimal number, too large, or not whole.
    private static func scaled(_ number: String, by scale: Int64) -> Int64? {
        let halves = number.split(separator: ".", omittingEmptySubsequences: false)
        guard halves.count <= 2, let whole = digits(ArraySlice(halves[0].utf8)) else { return nil }
        let (major, overflow) = whole.multipliedReportingOverflow(by: scale)
        guard !overflow, major <= 1 << 53 else { return nil }
        guard halves.count == 2 else { return major }
        guard halves[1].utf8.count <= 6, let fraction = digits(ArraySlice(halves[1].utf8)) else { return nil }
        let divisor = (0..<halves[1].utf8.count).reduce(Int64(1)) { power, _ in power * 10 }
        let (product, overflowed) = fraction.multipliedReportingOverflow(by: scale)
        guard !overflowed, product % divisor == 0 else { return nil }
        return major + product / divisor
    }

    private static func digits(_ bytes: ArraySlice<UInt8>) -> Int64? {
        guard !bytes.isEmpty, bytes.count <= 16 else { return nil }
        var value: Int64 = 0
        for byte in bytes {
            guard (0x30...0x39).contains(byte) else { return nil }
            value = value * 10 + Int64(byte - 0x30)
        }
        return value
    }

    private static func padded(_ number: Int64) -> String { number < 10 ? "0\(number)" : String(number) }

    private static func monthLength(_ month: Int64, _ year: Int64) -> Int64 {
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
        return month == 2 ? (leap ? 29 : 28) : [4, 6, 9, 11].contains(month) ? 30 : 31
    }

    /// Days from 1970-01-01 in the proleptic Gregorian calendar (years begin in March, eras of 400 years).
    private static func daysSinceEpoch(_ year: Int64, _ month: Int64, _ day: Int64) -> Int64 {
        let shifted = month <= 2 ? year - 1 : year
        let era = shifted / 400
        let yearOfEra = shifted - era * 400
        let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
        return era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear - 719_468
    }

    private static func civil(_ days: Int64) -> (year: Int64, month: Int64, day: Int64) {
        let shifted = days + 719_468
        let era = shifted / 146_097
        let dayOfEra = shifted - era * 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1_460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let monthIndex = (5 * dayOfYear + 2) / 153
        let month = monthIndex < 10 ? monthIndex + 3 : monthIndex - 9
        return (yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, dayOfYear - (153 * monthIndex + 2) / 5 + 1)
    }
}
