//! What reading a table yields: the good rows, and the faults as a clerk reads them.

use std::borrow::Cow;
use std::fmt;

use serde::{Serialize, Serializer};

/// Most faults that a report lists. Further ones are counted in [`Report::unlisted`]: nobody reads
/// ten thousand lines, and a hostile file must not fill the memory with them.
pub const MAX_FAULTS_LISTED: usize = 10_000;

/// One text in both languages of the pages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Text {
    /// Simplified Chinese.
    #[serde(rename = "zh-CN")]
    pub zh: Cow<'static, str>,
    /// English.
    pub en: Cow<'static, str>,
}

macro_rules! codes {
    ($($variant:ident = $code:literal, $zh:literal, $en:literal;)*) => {
        /// Why a row is not good. The set is closed; the kebab-case form is stable.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code { $(#[doc = $en] $variant,)* }

        impl Code {
            /// Every code, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The kebab-case form, as in JSON.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }

            /// The reason in both languages. It holds no value of the file.
            #[must_use]
            pub const fn text(self) -> (&'static str, &'static str) {
                match self { $(Self::$variant => ($zh, $en),)* }
            }
        }
    };
}

codes! {
    // the line
    ShortRow = "short-row", "本行列数不足", "the line has fewer fields than the header";
    LongRow = "long-row", "本行列数过多", "the line has more fields than the header";
    BrokenQuotes = "broken-quotes", "引号未闭合，字段内不得换行", "a quotation mark is not closed on this line; a field may not contain a line break";
    FieldTooLong = "field-too-long", "字段超过 4 KiB", "a field is longer than 4 KiB";
    DuplicateRow = "duplicate-row", "与前面的行完全相同，本行略去", "an exact copy of an earlier line; the copy is dropped";
    // any text
    Missing = "missing", "未填写", "nothing is filled in";
    Formula = "formula", "以公式符号开头（= + - @）", "begins like a spreadsheet formula (= + - @)";
    HiddenCharacter = "hidden-character", "含有不可见的控制字符", "contains an invisible control character";
    TextTooLong = "text-too-long", "超过 100 个字符", "longer than 100 characters";
    BadId = "bad-id", "标识只能含小写字母、数字和连字符，最多 40 个", "an id is up to 40 of a-z, 0-9 and hyphen";
    BadNumber = "bad-number", "不是整数", "not a whole number";
    OutOfRange = "out-of-range", "数值超出范围", "the number is out of range";
    RepeatedEntry = "repeated-entry", "列表中有重复项", "the list names one entry twice";
    ListTooLong = "list-too-long", "列表超过 20 项", "the list has more than 20 entries";
    ImpossibleDate = "impossible-date", "日期不存在，应为 年-月-日", "no such date; expected year-month-day";
    ConflictingRows = "conflicting-rows", "同一主体的多行内容不一致，均需核对", "lines about the same subject differ; all of them need a look";
    // people
    UnknownDocumentType = "unknown-document-type", "证件类型未知", "unknown type of document";
    MalformedDocument = "malformed-document", "证件号码应为 17 位数字加校验位（电子表格可能已将其改为数值）", "a document number is 17 digits and a check digit (a spreadsheet may have turned it into a number)";
    CheckDigit = "check-digit", "证件号码校验位不符", "the document's check digit is wrong";
    DocumentShared = "document-shared", "同一证件号码登记在不同姓名下，均需核对", "one document stands for people of different names; all of them need a look";
    BornInFuture = "born-in-future", "出生日期在今天之后", "born after today";
    BirthContradictsDocument = "birth-contradicts-document", "出生日期与证件号码不符", "the date of birth is not that of the document number";
    UnknownSex = "unknown-sex", "性别应为 F 或 M", "sex is F or M";
    SexContradictsDocument = "sex-contradicts-document", "性别与证件号码不符", "the sex is not that of the document number";
    BadPhone = "bad-phone", "电话应为 11 位数字；无智能手机者可不填", "a phone number has 11 digits; it may be empty only without a smartphone";
    UnknownClass = "unknown-class", "人群类别应为 elderly、chronic、pregnant 或 disabled", "a class is elderly, chronic, pregnant or disabled";
    UnknownCommunity = "unknown-community", "社区未注册", "no such community is registered";
    NotYesOrNo = "not-yes-or-no", "应为 yes 或 no", "expected yes or no";
    // hours
    UnknownWeekday = "unknown-weekday", "星期应为 Mon 至 Sun", "a weekday is Mon to Sun";
    BadTime = "bad-time", "时间应为 HH:MM", "a time is HH:MM, from 00:00 to 23:59";
    EndsBeforeStart = "ends-before-start", "结束时间不晚于开始时间", "the end is not after the start";
    SlotDoesNotFit = "slot-does-not-fit", "单个号源时长超过出诊时长", "not one slot fits between start and end";
    DoctorOverlap = "doctor-overlap", "同一医生出诊时间重叠，均需核对", "one doctor has overlapping hours; all of them need a look";
    // programmes
    UnknownPresentation = "unknown-presentation", "应为 allowed 或 forbidden", "expected allowed or forbidden";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.as_str())
    }
}

/// What the reader of a fault needs besides its code. Never a value of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Note {
    None,
    SeeLine(u32),
    Range(u32, u32),
}

/// A code with its note, as a parser of one field returns it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flaw(pub(super) Code, pub(super) Note);

impl From<Code> for Flaw {
    fn from(code: Code) -> Self {
        Self(code, Note::None)
    }
}

impl Flaw {
    fn detail(self) -> Text {
        let (zh, en) = self.0.text();
        match self.1 {
            Note::None => Text { zh: zh.into(), en: en.into() },
            Note::SeeLine(line) => {
                Text { zh: format!("{zh}（见第 {line} 行）").into(), en: format!("{en} (see line {line})").into() }
            }
            Note::Range(min, max) => {
                Text { zh: format!("{zh}（{min} 至 {max}）").into(), en: format!("{en} ({min} to {max})").into() }
            }
        }
    }
}

/// One thing wrong with one row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Physical line in the file; the header of a plain file is line 1.
    pub line: u32,
    /// The column at fault; none if it is the whole line.
    pub column: Option<&'static str>,
    /// The reason, for programs.
    pub code: Code,
    /// The reason, for people. It holds no value of the file.
    pub detail: Text,
}

/// The good rows of a table and what is wrong with the others.
///
/// A row with several faults is listed once for each. A report of people is as confidential as the
/// file: serialize [`Report::summary`] where only the faults are wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report<T> {
    /// Rows without a fault, in the order of the file.
    pub good: Vec<T>,
    /// Faults by line; at most [`MAX_FAULTS_LISTED`].
    pub faults: Vec<Fault>,
    /// How many further faults there are. Their rows are not among the good ones either.
    pub unlisted: usize,
}

/// A report without its rows: what may be shown, stored or logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Summary<'a> {
    /// How many rows are good.
    pub good: usize,
    /// As in [`Report::faults`].
    pub faults: &'a [Fault],
    /// As in [`Report::unlisted`].
    pub unlisted: usize,
}

impl<T> Report<T> {
    /// The report without its rows, so without personal data.
    #[must_use]
    pub fn summary(&self) -> Summary<'_> {
        Summary { good: self.good.len(), faults: &self.faults, unlisted: self.unlisted }
    }
}

impl<T> fmt::Display for Report<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.summary().fmt(f)
    }
}

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "合格 good rows: {}   问题 faults: {}", self.good, self.faults.len() + self.unlisted)?;
        if self.faults.is_empty() {
            return Ok(());
        }
        // The texts stand last: Chinese characters are two cells wide and would break what follows.
        let columns = self.faults.iter().map(|fault| fault.column.unwrap_or("-").len()).max().unwrap_or(0).max(6);
        let codes = self.faults.iter().map(|fault| fault.code.as_str().len()).max().unwrap_or(0).max(6);
        writeln!(f, "{:>7}  {:columns$}  {:codes$}  detail", "line", "column", "reason")?;
        for Fault { line, column, code, detail } in self.faults {
            let column = column.unwrap_or("-");
            writeln!(f, "{line:>7}  {column:columns$}  {code:codes$}  {} / {}", detail.zh, detail.en)?;
        }
        if self.unlisted > 0 {
            writeln!(f, "{:>7}  另有 {} 项未列出 / {} more not listed", "...", self.unlisted, self.unlisted)?;
        }
        Ok(())
    }
}

/// Collects faults up to [`MAX_FAULTS_LISTED`].
#[derive(Debug, Default)]
pub(super) struct Faults {
    listed: Vec<Fault>,
    unlisted: usize,
}

impl Faults {
    pub(super) fn push(&mut self, line: u32, column: Option<&'static str>, flaw: impl Into<Flaw>) {
        if self.listed.len() >= MAX_FAULTS_LISTED {
            self.unlisted = self.unlisted.saturating_add(1);
            return;
        }
        let flaw = flaw.into();
        self.listed.push(Fault { line, column, code: flaw.0, detail: flaw.detail() });
    }

    pub(super) fn report<T>(mut self, good: Vec<T>) -> Report<T> {
        // Stable: within a line the order in which the columns were read remains.
        self.listed.sort_by_key(|fault| fault.line);
        Report { good, faults: self.listed, unlisted: self.unlisted }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_code_is_kebab_case_and_alone() {
        let mut seen = HashSet::new();
        for code in Code::ALL {
            let text = code.as_str();
            assert!(text.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{text}");
            assert!(seen.insert(text), "{text} twice");
            assert!(!code.text().0.is_ascii() && code.text().1.is_ascii(), "{text}: Chinese first, then English");
        }
    }

    #[test]
    fn a_clerk_reads_an_aligned_table_and_a_program_reads_json() {
        let mut faults = Faults::default();
        faults.push(12, Some("capacity"), Flaw(Code::OutOfRange, Note::Range(1, 100)));
        faults.push(3, None, Flaw(Code::DuplicateRow, Note::SeeLine(2)));
        let report = faults.report(vec!["a row"]);
        assert_eq!(
            report.to_string(),
            "合格 good rows: 1   问题 faults: 2\n   line  column    reason         detail\n      \
             3  -         duplicate-row  与前面的行完全相同，本行略去（见第 2 行） / an exact copy of an earlier line; the copy is dropped (see line 2)\n     \
             12  capacity  out-of-range   数值超出范围（1 至 100） / the number is out of range (1 to 100)\n"
        );
        let json = serde_json::to_value(report.summary()).unwrap();
        assert_eq!(json["good"], 1);
        assert_eq!(json["faults"][1]["code"], "out-of-range");
        assert_eq!(json["faults"][1]["detail"]["en"], "the number is out of range (1 to 100)");
        assert_eq!(json["faults"][1]["detail"]["zh-CN"], "数值超出范围（1 至 100）");
    }

    #[test]
    fn faults_beyond_the_limit_are_counted() {
        let mut faults = Faults::default();
        for line in 0..=MAX_FAULTS_LISTED as u32 {
            faults.push(line, None, Code::ShortRow);
        }
        let report = faults.report(Vec::<()>::new());
        assert_eq!((report.faults.len(), report.unlisted), (MAX_FAULTS_LISTED, 1));
    }
}
