//! The texts of the reasons: for each one what the holder reads and what the desk reads, in Chinese and English.
//!
//! The holder may be eighty: short, plain, and what to do next. The desk learns what is wrong and what to do about it.

use crate::reasons::Reason;

/// The two texts of a reason in one language.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Texts {
    /// For the holder.
    pub holder: &'static str,
    /// For a clerk or operator.
    pub desk: &'static str,
}

/// A language of texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Language {
    /// Chinese as written in mainland China (`zh-CN`).
    Zh,
    /// English (`en`).
    En,
}

/// What people read when something is refused for this reason.
#[must_use]
pub const fn texts(reason: Reason, language: Language) -> Texts {
    let [holder_zh, desk_zh, holder_en, desk_en] = all(reason);
    match language {
        Language::Zh => Texts { holder: holder_zh, desk: desk_zh },
        Language::En => Texts { holder: holder_en, desk: desk_en },
    }
}

const ASK_ZH: &str = "现在办不了，请找柜台工作人员帮忙。";
const ASK_EN: &str = "This cannot be done now. Please ask the staff at the desk for help.";
const NOTHING_LOST_ZH: &str = "正在处理，您什么都不用做，券不会丢。";
const NOTHING_LOST_EN: &str = "This is being sorted out. You need not do anything; your voucher is safe.";
const NEW_QR_ZH: &str = "请重新打开手机上的二维码，再给工作人员扫一次。";
const NEW_QR_EN: &str = "Please open the QR code on your phone again and show it once more.";
const LATER_ZH: &str = "系统正忙，请过几分钟再试。";
const LATER_EN: &str = "The system is busy. Please try again in a few minutes.";
const EXAM_ZH: &str = "检查记录还没填好，请稍等，工作人员会补全。";
const EXAM_EN: &str = "Your examination record is not complete yet. Please wait; the staff will finish it.";

/// Holder in Chinese, desk in Chinese, holder in English, desk in English.
#[allow(clippy::too_many_lines)] // one arm for each reason
const fn all(reason: Reason) -> [&'static str; 4] {
    match reason {
        Reason::WrongState => [
            "这张券现在还不能办这一步，请问工作人员下一步做什么。",
            "券当前的状态不允许此步骤。请刷新后查看券的状态，按流程办理上一步。",
            "This voucher is not ready for this step. Please ask the staff what comes next.",
            "The voucher's state does not allow this step. Refresh, look at its state and do the step before it first.",
        ],
        Reason::NotCustodian => [
            "这张券现在由别的单位办理，请问工作人员该去哪里。",
            "券目前由其他机构保管，本机构不能办理。请在券的历史中查看保管机构并与其联系。",
            "Another office has this voucher now. Please ask the staff where to go.",
            "Another institution has custody of the voucher. See its history for which one, and contact it.",
        ],
        Reason::WrongRole => [
            ASK_ZH,
            "此步骤应由另一角色的机构办理。请用有相应角色的账号或机构操作。",
            ASK_EN,
            "This step belongs to an institution in another role. Use an account or institution that plays that role.",
        ],
        Reason::NotInGoodStanding => [
            "这家单位暂时不能办理服务券，请问工作人员换哪一家。",
            "机构已被暂停、撤销或冻结，或没有此角色，其记录不计入。请联系登记机构。",
            "This institution cannot handle vouchers for now. Please ask the staff which other one you can go to.",
            "The institution is suspended, revoked, frozen or lacks the role: its records do not count. Ask the registrar.",
        ],
        Reason::StalePosition => [
            "信息刚刚有变动，请过一会儿再试一次。",
            "登记信息已有变更而本记录依据的是旧信息。请等节点与登记机构同步后重新办理。",
            "Something about your registration has just changed. Please try again in a few minutes.",
            "The record was judged by an old state of the registry. Wait until the node has caught up, then do it again.",
        ],
        Reason::BadName => [
            ASK_ZH,
            "记录所引用的另一条记录与账本不符，永远不会计入。请重新办理，并通知审计机构。",
            ASK_EN,
            "The record names another one that is not where it should be; it never counts. Start again and tell the auditor.",
        ],
        Reason::NamedPastFreeze => [
            ASK_ZH,
            "引用了某机构账本冻结之后的记录，不计入。请联系登记机构处理。",
            ASK_EN,
            "A record past the freeze of a log is named, so this does not count. Contact the registrar.",
        ],
        Reason::BadWindow => [
            "时间填得不对，请工作人员重新选一个时间。",
            "起止时间前后矛盾或超出允许范围。请检查各个时限后重新填写。",
            "The times do not fit. Please ask the staff to choose the time again.",
            "The times contradict each other or exceed what is allowed. Check each limit and enter them again.",
        ],
        Reason::AlreadyBooked => [
            "这张券已经预约过了。想改时间，请先取消原来的预约。",
            "券已有预约。如需改约，请先由持券人取消或改期。",
            "This voucher is already booked. To change the time, cancel that booking first.",
            "The voucher is booked already. For another time the holder first cancels or moves the booking.",
        ],
        Reason::AlreadyUsed => [
            "这张券已经用过了。如果您没有用过，请马上告诉工作人员。",
            "券已确认使用，不能再次预约或使用。持券人否认使用时，请协助其提出异议。",
            "This voucher has been used. If it was not you, please tell the staff at once.",
            "Its use is confirmed; it can be neither booked nor used again. If the holder denies it, help with a dispute.",
        ],
        Reason::AlreadyRedeemed => [
            "这张券已经用完结清了，不用再办。",
            "券已核销，流程结束。如核销有误，由发放机构在更正期内冲正。",
            "This voucher is used and settled. There is nothing more to do.",
            "The voucher is redeemed. If that was a mistake, the issuer can reverse it within the correction period.",
        ],
        Reason::Voided => [
            "这张券已经作废。您可以到社区问问能不能再领一张。",
            "券已作废或已被收回，不能再用。请核对作废原因，符合条件的可重新发券。",
            "This voucher is void. Ask at your community whether you can get a new one.",
            "The voucher is voided or taken back. Look up the reason; if the holder is entitled, issue a new one.",
        ],
        Reason::NotYetValid => [
            "这张券还没到可以用的日子，请看券上的开始日期。",
            "券的有效期尚未开始。请告诉持券人开始日期，到期再办理。",
            "This voucher is not valid yet. Please look at the first day printed on it.",
            "The validity has not begun. Tell the holder the first day and do it then.",
        ],
        Reason::Expired => [
            "这张券已经过期了。您可以到社区问问能不能再领一张。",
            "券已过有效期，或所选时间在有效期之外。请选有效期内的时间；已过期的由发放机构作废。",
            "This voucher has expired. Ask at your community whether you can get a new one.",
            "The validity is over, or the chosen time lies outside it. Choose an earlier time; the issuer voids what expired.",
        ],
        Reason::ResponseTooLate => [
            "医院没有按时答复这次预约，请您重新约一次。",
            "答复预约的时限已过，券将退回服务券平台。请让持券人重新预约。",
            "The hospital did not answer your booking in time. Please book again.",
            "The time to answer the booking is over and the voucher goes back to its module. Let the holder book again.",
        ],
        Reason::TooEarly => [
            "您来早了。请在预约时间前两小时之内再来报到。",
            "尚未到报到时间。请让持券人在号源开始前两小时以内再报到。",
            "You are early. Please check in no sooner than two hours before your appointment.",
            "The arrival window has not opened. The holder can check in from two hours before the slot.",
        ],
        Reason::TooLate => [
            "您的预约时间已经过了，请重新约一次。",
            "报到时间已过。请释放预约或等其自动失效，再让持券人重新预约。",
            "The time of your appointment is over. Please book again.",
            "The arrival window is over. The booking lapses by itself; let the holder book again.",
        ],
        Reason::CompletionTooLate => [
            "检查没有在规定时间内完成登记，请问工作人员怎么办。",
            "完成检查的时限已过，不能再登记完成。请联系发放机构处理。",
            "The examination was not recorded in time. Please ask the staff what to do.",
            "The time to record the completion is over. Contact the issuer.",
        ],
        Reason::ClaimTooLate => [
            NOTHING_LOST_ZH,
            "申请核销的时限已过。请联系发放机构说明情况。",
            NOTHING_LOST_EN,
            "The time to claim the redemption is over. Explain the case to the issuer.",
        ],
        Reason::AnswerMissing => [
            NOTHING_LOST_ZH,
            "上次核销申请被驳回，再次申请必须针对该驳回作答。请打开驳回记录后提交答复。",
            NOTHING_LOST_EN,
            "The last claim was rejected; another claim must answer that rejection. Open the rejection and answer it.",
        ],
        Reason::TooManyClaims => [
            NOTHING_LOST_ZH,
            "核销申请已被驳回三次，不能再申请。请与发放机构线下核对。",
            NOTHING_LOST_EN,
            "The claim was rejected three times and cannot be made again. Settle the matter with the issuer directly.",
        ],
        Reason::NotSurelyOver => [
            NOTHING_LOST_ZH,
            "还不能证明对方账本的时限已过，或对方在时限内已有记录。请等对方的记录到达后再办。",
            NOTHING_LOST_EN,
            "It is not proved that time is over in the other log, or a record in time stands there. Wait for its records.",
        ],
        Reason::GraceNotOver => [
            NOTHING_LOST_ZH,
            "宽限期未满，暂不能从该机构收回。请在宽限期满后再收回。",
            NOTHING_LOST_EN,
            "The grace of the silent institution is not over. Take the voucher back when it is.",
        ],
        Reason::CorrectionOver => [
            ASK_ZH,
            "核销后的更正期已过，不能再冲正。请走线下结算更正。",
            ASK_EN,
            "The correction period after the redemption is over. Correct the payment outside the system.",
        ],
        Reason::ApproverNeeded => [
            "这一步要两位工作人员确认，请稍等。",
            "此操作须由另一位有权限的人员复核。请让第二人批准后再提交。",
            "Two members of staff must confirm this step. Please wait a moment.",
            "A second person must approve this. Have somebody else with the right approve it, then submit again.",
        ],
        Reason::NothingToResolve => [
            ASK_ZH,
            "该券没有争议、断链或被取代的分支，无需裁定。",
            ASK_EN,
            "Nothing about this voucher is contested, cut off or superseded, so there is nothing to resolve.",
        ],
        Reason::Superseded => [
            "这一步已被别处的办理取代，请问工作人员现在的情况。",
            "同一记录之后已有另一条记录生效，本记录只作证据。请刷新并按券的现状办理，已占的号请释放。",
            "This was settled elsewhere in the meantime. Please ask the staff how your voucher stands now.",
            "Another successor of the same record stands; yours is evidence. Refresh, free the slot, and go on from there.",
        ],
        Reason::VoidRequested => [
            "发券单位要收回这张券，请问社区能不能换一张。",
            "发放机构已要求收回此券，不能再向前办理。请退回该券并释放号源。",
            "The issuer is taking this voucher back. Ask your community about another one.",
            "The issuer wants the voucher back: take no further step, return it and free the slot.",
        ],
        Reason::PresentationMalformed => [
            NEW_QR_ZH,
            "个人二维码内容无法解析。请让持券人刷新二维码后重扫，仍不行请更新手机程序。",
            NEW_QR_EN,
            "The personal QR cannot be parsed. Have the holder refresh it and scan again, or update the app.",
        ],
        Reason::PresentationForged => [
            "二维码与您的登记不符。请带上证件，到社区核对手机。",
            "签名不是登记的密钥所签。请核对证件；换过手机的先到社区更换密钥，可疑的请上报。",
            "The code does not match your registration. Please bring your ID to your community to check your phone.",
            "The signature is not by the registered key. Check the document; register a new phone first, or report it.",
        ],
        Reason::PresentationReplayed => [
            NEW_QR_ZH,
            "这个个人二维码已经用过一次。请让持券人刷新后重扫，不接受截图。",
            NEW_QR_EN,
            "This personal QR was used before. Have the holder refresh it; screenshots are not accepted.",
        ],
        Reason::PresentationElsewhere => [
            "这个二维码是给另一家单位的，请在手机上重新选择这里。",
            "个人二维码是出示给其他机构的。请让持券人在手机上选择本机构后重新出示。",
            "This code is meant for another place. Please choose this place on your phone and show it again.",
            "The personal QR names another institution. Have the holder choose this one and show it again.",
        ],
        Reason::PresentationOtherStep => [
            "二维码选错了用途，请工作人员告诉您该点哪一个。",
            "个人二维码的用途与本步骤不符。请让持券人选择对应用途（领券、报到、完成或取消）后重扫。",
            "This code is for another step. The staff will show you which one to choose.",
            "The personal QR is for another step. Have the holder choose receive, arrive, complete or cancel, as needed.",
        ],
        Reason::PresentationOtherVoucher => [
            "您出示的是另一张券，请在手机上换成要用的那张。",
            "个人二维码对应的是另一张券或另一个项目。请让持券人选择正确的券后重扫。",
            "You are showing another voucher. Please choose the right one on your phone.",
            "The personal QR is for another voucher or programme. Have the holder choose the right one and scan again.",
        ],
        Reason::PresentationStale => [
            NEW_QR_ZH,
            "个人二维码已过时，或手机时间不准。请让持券人刷新；仍不行请把手机时间设为自动。",
            NEW_QR_EN,
            "The personal QR is too old or the phone's clock is off. Refresh it; if that fails set the clock to automatic.",
        ],
        Reason::CardNotAllowed => [
            "这个项目不能用纸质卡，请用手机办理。",
            "该项目不接受纸质卡。请用持券人的手机，或请社区协助办理手机登记。",
            "This programme does not take printed cards. Please use your phone.",
            "The programme allows no printed card. Use the holder's phone, or ask the community to register one.",
        ],
        Reason::CardUnknown => [
            "这张卡已经换过或没有登记，请用新卡，或到社区补办。",
            "没有发过此卡，或已被新卡替换。请核对证件，收回旧卡并到社区补办。",
            "This card has been replaced or is not registered. Use the new card or ask your community for one.",
            "No such card was issued, or another replaced it. Check the document, keep the old card, have a new one made.",
        ],
        Reason::EnrolmentBlocked => [
            "您的登记已停用。如果不是您要求的，请带证件到社区。",
            "持券人的登记已被停用，其名下的券不能再办理。请查看停用原因，需要时由社区重新登记。",
            "Your registration is blocked. If you did not ask for that, please bring your ID to your community.",
            "The enrolment is blocked and nothing counts under it. See the reason; the community can register anew.",
        ],
        Reason::EnrolmentUnknown => [
            "没有查到您的登记，请带证件到社区办理。",
            "查不到此登记，或当时尚未登记。请先在社区登记，或等登记信息同步后再试。",
            "We cannot find your registration. Please bring your ID to your community.",
            "There is no such enrolment, or not yet at that position. Register first, or wait until it has arrived here.",
        ],
        Reason::EnrolmentElsewhere => [
            "您登记在另一个社区或项目，请到登记的社区办理。",
            "该登记属于其他社区、服务券平台或项目。请到登记所在社区办理，或先办理迁移。",
            "You are registered with another community or programme. Please go to the community that registered you.",
            "The enrolment belongs to another community, module or programme. Go there, or move the enrolment first.",
        ],
        Reason::ProgrammeUnknown => [
            ASK_ZH,
            "没有此项目。请核对项目名称，或等项目信息同步后再试。",
            ASK_EN,
            "There is no such programme. Check its name, or wait until it has arrived at this node.",
        ],
        Reason::ProgrammeExists => [
            ASK_ZH,
            "已有同名项目。请改用新的短名，或修改原项目。",
            ASK_EN,
            "A programme of that short name exists. Choose another name, or change the existing programme.",
        ],
        Reason::NotEntitled => [
            "这个项目不适用于您的情况。社区可以告诉您能领哪些券。",
            "持券人的类别不在项目范围内。请核对其类别，或告知适用的项目。",
            "This programme is not meant for your situation. Your community can tell you which vouchers you can get.",
            "The holder's class is not entitled. Check the class, or point out a programme that fits.",
        ],
        Reason::AllowanceUsed => [
            "这个项目的券您已经领满了，下一期再来。",
            "持券人在该项目中已领满规定张数，不能再发。",
            "You have received all your vouchers of this programme. Please come again in the next round.",
            "The holder has had as many vouchers of this programme as it allows. No more can be issued.",
        ],
        Reason::NoStock => [
            "券暂时发完了，社区到货后请再来。",
            "本社区该项目已无库存。请向发放机构申请补发。",
            "There are no vouchers left at the moment. Please come back when your community has new ones.",
            "No voucher of the programme is in stock here. Ask the issuer to send more.",
        ],
        Reason::DepartmentNotAllowed => [
            "这张券不能看这个科室，请换一个科室预约。",
            "该科室不在项目允许的科室之内。请选择允许的科室。",
            "This voucher cannot be used in this department. Please choose another one.",
            "The department is not one of the programme's. Choose one that is on its list.",
        ],
        Reason::OpenBooking => [
            "您在这个项目里已有一个预约，先用掉或取消它。",
            "持券人在该项目中已有未完成的预约。请先完成或取消后再约。",
            "You already have a booking in this programme. Use it or cancel it first.",
            "The holder has an open booking in this programme. It must be used or cancelled before another is made.",
        ],
        Reason::NotBooked => [
            "这张券还没有预约好，请先预约再来。",
            "券没有已确认的预约，不能使用。请先预约，并由医院确认。",
            "This voucher is not booked yet. Please make a booking first.",
            "No confirmed booking stands, so it cannot be used. Book first and let the hospital confirm.",
        ],
        Reason::BookedElsewhere => [
            "您约的是另一家医院，请看手机上的医院名称。",
            "券预约在其他医院，本院不能使用。请让持券人去预约的医院，或先改约。",
            "You are booked at another hospital. Please look at its name on your phone.",
            "The voucher is booked at another hospital. Send the holder there, or have the booking moved first.",
        ],
        Reason::SlotUnknown => [
            "没有这个时间可约，请另选一个时间。",
            "号源表中没有此时段。请刷新号源后重选。",
            "There is no such appointment. Please choose another time.",
            "The schedule has no such slot. Refresh the list of slots and choose again.",
        ],
        Reason::SlotTaken => [
            "这个时间已经约满了，请另选一个时间。",
            "该时段号源已满。请选择其他时段，或增加号源。",
            "This time is full. Please choose another one.",
            "The slot is full. Choose another one, or add capacity to the schedule.",
        ],
        Reason::SlotPast => [
            "这个时间已经过了或太近，请选晚一点的时间。",
            "该时段已过去，或距现在太近，来不及答复。请选择更晚的时段。",
            "This time is past or too soon. Please choose a later one.",
            "The slot lies in the past, or too near to be answered in time. Choose a later one.",
        ],
        Reason::PerformerElsewhere => [
            EXAM_ZH,
            "检查人员不属于所预约的科室。请核对人员，或更正排班。",
            EXAM_EN,
            "The performer does not work in the booked department. Check who performed it, or correct the staff list.",
        ],
        Reason::StartedBeforeArrival => [
            EXAM_ZH,
            "检查开始时间早于持券人报到时间。请核对并更正时间。",
            EXAM_EN,
            "The examination began before the holder arrived. Check the times and correct them.",
        ],
        Reason::EndedBeforeStart => [
            EXAM_ZH,
            "检查结束时间早于开始时间。请更正时间。",
            EXAM_EN,
            "The examination ends before it begins. Correct the times.",
        ],
        Reason::EndsInFuture => [
            EXAM_ZH,
            "检查结束时间在将来。请在检查结束后再登记，或更正时间。",
            EXAM_EN,
            "The examination ends in the future. Record it when it is over, or correct the time.",
        ],
        Reason::ItemNotDone => [
            "还有检查项目没有做完，请做完再走。",
            "有医嘱项目未完成。请完成后登记，或由医生取消该项目。",
            "One of your examinations is not done yet. Please stay until all are done.",
            "An ordered item is not done. Complete it, or have the doctor cancel it, then record the completion.",
        ],
        Reason::EvidenceMissing => [
            EXAM_ZH,
            "没有医嘱项目，或缺少检查结果。请补录项目和结果。",
            EXAM_EN,
            "Nothing was ordered, or a result is missing. Enter the items and their results.",
        ],
        Reason::ClaimUnfounded => [
            NOTHING_LOST_ZH,
            "核销申请与券的历史不符。请核对预约、报到和检查记录后答复。",
            NOTHING_LOST_EN,
            "The claim does not fit the voucher's history. Compare booking, arrival and examination, then answer.",
        ],
        Reason::OpeningDiffers => [
            NOTHING_LOST_ZH,
            "收到的明细与账本中的摘要不符。请发送原始明细，不要改动。",
            NOTHING_LOST_EN,
            "The details received do not fit the digest in the ledger. Send the original ones, unchanged.",
        ],
        Reason::DocumentRegistered => [
            "您的证件已经登记过了，不用再登记。换手机请告诉工作人员。",
            "该证件已登记。换手机或换卡请办理更换，不要重复登记。",
            "You are registered already. If you have a new phone, please tell the staff.",
            "This document is registered already. For a new phone or card use the replacement, not a new registration.",
        ],
        Reason::KeyRegistered => [
            "这部手机已经登记过了。如果是别人的登记，请告诉工作人员。",
            "该密钥已登记在案。请在手机上新建密钥后重试，并核对是否为他人手机。",
            "This phone is registered already. If that was someone else, please tell the staff.",
            "This key is registered already. Make a new key on the phone, and check whose phone it is.",
        ],
        Reason::DocumentInvalid => [
            "证件号码不对，请工作人员再核对一遍。",
            "证件号码格式或校验位不正确。请对照证件重新录入。",
            "The number of your ID does not look right. Please let the staff check it again.",
            "The number of the document fails its check digit or form. Enter it again from the document.",
        ],
        Reason::HolderUnknown => [
            "这里没有您的登记，请带证件到社区登记。",
            "本机构没有此持券人的资料。请核对证件，或转到其登记的社区。",
            "You are not registered here. Please bring your ID to your community.",
            "The holder is not known at this institution. Check the document, or send the holder to the home community.",
        ],
        Reason::MemberExists => [
            ASK_ZH,
            "该机构已是成员。变更角色或地址请用变更，不要重新加入。",
            ASK_EN,
            "The institution is a member already. Change its roles or address instead of adding it again.",
        ],
        Reason::MemberUnknown => [
            ASK_ZH,
            "没有此成员机构。请核对机构代号，或先办理加入。",
            ASK_EN,
            "There is no such member. Check the institution's id, or let it join first.",
        ],
        Reason::KeyUnfit => [
            "这部手机的密钥不能登记，请工作人员帮您重新设置。",
            "密钥不合规或持有证明不成立，不能登记。请重新生成密钥后再提交。",
            "The key of this phone cannot be registered. The staff will help you set it up again.",
            "The key is not fit to register, or its proof of possession fails. Generate a new one and submit again.",
        ],
        Reason::LookupThrottled => [
            "号码输错太多次，请过一会儿再试，或出示卡片。",
            "卡号查询错误次数过多，已暂停。请稍后再试，或直接扫描卡片。",
            "Too many wrong numbers. Please wait a while, or show your card.",
            "Too many card numbers were wrong and look-up is paused. Wait, or scan the card itself.",
        ],
        Reason::Malformed => [
            "这次没有办成，请再试一次，或找工作人员。",
            "请求格式有误，无法读取。请检查所填字段；由系统对接产生的请联系技术人员。",
            "That did not work. Please try once more, or ask the staff.",
            "The request cannot be read. Check the fields; if another system sent it, call its technician.",
        ],
        Reason::TooLarge => [
            "内容太大了，请换一张小一点的图片，或少选一些。",
            "请求内容超过上限。请分批提交，或压缩图片。",
            "That is too large. Please use a smaller picture, or choose less at once.",
            "The request is larger than allowed. Send it in parts, or make the picture smaller.",
        ],
        Reason::UnsupportedMedia => [
            "这种文件打不开，请换一张普通照片。",
            "内容类型不受支持。请按接口文档使用规定的类型。",
            "This kind of file cannot be opened. Please use an ordinary photo.",
            "The media type is not supported. Use the one that the API documentation names.",
        ],
        Reason::IdempotencyKeyMissing => [
            "这次没有办成，请重新打开页面再试。",
            "请求缺少 Idempotency-Key。请更新页面或对接程序。",
            "That did not work. Please open the page again and retry.",
            "The Idempotency-Key header is missing. Reload the page, or correct the calling system.",
        ],
        Reason::IdempotencyKeyReused => [
            "这次没有办成，请刷新页面后重新办一次。",
            "同一个 Idempotency-Key 被用于不同的请求。请刷新页面；对接程序应为每个请求换新值。",
            "That did not work. Please reload the page and start again.",
            "The same Idempotency-Key came with another request. Reload; a calling system needs a new key each time.",
        ],
        Reason::CursorInvalid => [
            "页面过期了，请刷新。",
            "翻页标记不是本节点给出的或已失效。请从第一页重新查询。",
            "This page is out of date. Please reload it.",
            "The cursor was not given by this node. Start the list again from its first page.",
        ],
        Reason::Unauthenticated => [
            "请先登录，或重新打开手机上的服务券。",
            "没有登录，或登录已过期。请重新登录。",
            "Please sign in first, or open your vouchers on the phone again.",
            "Nobody is signed in, or the session has ended. Sign in again.",
        ],
        Reason::Forbidden => [
            "您不能办这件事，请找工作人员帮忙。",
            "当前账号没有此权限。请由有权限的人员办理，或请管理员授权。",
            "You cannot do this yourself. Please ask the staff.",
            "This account lacks the right. Have somebody with the right do it, or ask the administrator.",
        ],
        Reason::NotFound => [
            "没有找到，请核对后再试。",
            "查无此项。请核对编号；新建的可能尚未同步到本节点。",
            "We cannot find that. Please check and try again.",
            "There is no such thing here. Check the number; what is new may not have arrived at this node yet.",
        ],
        Reason::MethodNotAllowed => [
            "这次没有办成，请回到首页再试。",
            "该地址不支持此操作方式。请核对接口文档。",
            "That did not work. Please go back to the first page and try again.",
            "This address does not support the method. See the API documentation.",
        ],
        Reason::NotMyRole => [
            "这里不办这项业务，请问工作人员该去哪里。",
            "本节点不承担此角色。请到承担该角色的机构节点办理。",
            "This is not done here. Please ask the staff where to go.",
            "This node does not play the role. Use the node of an institution that does.",
        ],
        Reason::QrUnreadable => [
            "没有看清二维码。请把屏幕调亮、擦干净，再扫一次。",
            "图片中未找到二维码。请对准、补光后重扫，或手工输入。",
            "The QR code could not be seen. Please make your screen brighter and try again.",
            "No QR code was found in the picture. Aim again with more light, or type it in.",
        ],
        Reason::QrNotGenuine => [
            "这不是我们的二维码，请不要使用，并告诉工作人员。",
            "二维码不是本系统所发，或签名无效。请勿受理，留存并上报。",
            "This is not one of our codes. Please do not use it, and tell the staff.",
            "The code is not one of ours, or its signature fails. Do not accept it; keep a copy and report it.",
        ],
        Reason::PictureUnreadable => [
            "照片打不开，请重新拍一张。",
            "图片文件损坏或格式不支持。请重新拍照，或换用 PNG、JPEG、WebP。",
            "The photo cannot be opened. Please take a new one.",
            "The picture is damaged or of an unknown kind. Take it again, or use PNG, JPEG or WebP.",
        ],
        Reason::CheckpointUnfit => [
            "这份账本签名未能得到见证。",
            "见证方拒绝联署：该检查点不能证明是此前已联署内容的延续。请核对证明；若同一大小出现不同的根，账本可能已分叉，请通知审计方。",
            "This signature of a ledger was not witnessed.",
            "The witness does not cosign: the checkpoint is not shown to go on from what it cosigned before. Check the proof; \
             two roots of one size mean a forked log: tell the auditors.",
        ],
        Reason::Waiting => [
            "信息还在路上，请过几分钟再试。",
            "所依据的记录尚未到达本节点。请稍后重试；久等不到请检查与对方机构的网络。",
            "Some information is still on its way. Please try again in a few minutes.",
            "A record that this depends on has not arrived. Try again soon; if it stays away check the link to its node.",
        ],
        Reason::Busy => {
            [LATER_ZH, "节点请求过多，队列已满。请稍后重试。", LATER_EN, "The node's queue is full. Try again shortly."]
        }
        Reason::DiskLow => [
            LATER_ZH,
            "节点磁盘空间不足，暂停写入。请立即通知管理员清理或扩容。",
            LATER_EN,
            "Free disk space is below the floor and the node does not write. Call the administrator now.",
        ],
        Reason::NotReady => [
            LATER_ZH,
            "节点刚启动，正在向同伴核对自己的账本，暂不写入。请稍候；长时间不变请通知管理员。",
            LATER_EN,
            "The node has started and asks its peers how long its log is. Wait; if it lasts call the administrator.",
        ],
        Reason::ClockOff => [
            LATER_ZH,
            "节点时钟不准，暂停写入。请管理员检查时间同步。",
            LATER_EN,
            "The node's clock cannot be trusted, so it does not write. Have the administrator check time synchronisation.",
        ],
        Reason::WitnessesMissing => [
            LATER_ZH,
            "审计见证签名不足，本节点按配置暂停写入。请管理员检查审计机构的节点。",
            LATER_EN,
            "Too few auditors have cosigned this log, and this node is configured to wait for them. Have the administrator look at \
             the auditors' nodes.",
        ],
        Reason::NotYetHeld => [
            "已登记，正在等待其他单位确认，请稍候。",
            "记录已写入本节点，但持有它的同伴还不够。请用同一请求编号重试；持续不通请通知管理员。",
            "It is written down and waits to be confirmed. Please wait a moment.",
            "It is written here, and too few peers hold it yet. Send the same request again; if it lasts call the administrator.",
        ],
        Reason::SignInFailed => [
            ASK_ZH,
            "账号名或密码不正确，或账号已停用。请核对后重试，仍不行请找本机构的账号管理员。",
            ASK_EN,
            "Name or password is wrong, or the account is disabled. Check both; if it stays so, ask who keeps the accounts.",
        ],
        Reason::SignInThrottled => [
            LATER_ZH,
            "登录失败次数过多，暂时锁定。请按提示的秒数等待后再试。",
            LATER_EN,
            "Too many failed sign-ins. Wait for the number of seconds that the answer names, then try again.",
        ],
        Reason::SessionOver => [
            ASK_ZH,
            "登录已过期、已退出，或令牌无效。请重新登录，机器请换用有效的令牌。",
            ASK_EN,
            "The session is over, or the token is unknown, expired or revoked. Sign in again; a machine needs a new token.",
        ],
        Reason::CsrfTokenWrong => [
            ASK_ZH,
            "请求没有带上本次登录的防伪标记。请刷新页面后重新提交。",
            ASK_EN,
            "The request did not carry the session's own token (X-CSRF-Token). Load the page again and send it from there.",
        ],
        Reason::PasswordChangeNeeded => [
            ASK_ZH,
            "当前密码只供首次登录使用。请先设置自己的密码，再办理业务。",
            ASK_EN,
            "This password was for one sign-in. Set a password of your own first; then everything else is possible.",
        ],
        Reason::PasswordUnfit => [
            ASK_ZH,
            "密码不合要求：至少十二个字符，不能含账号名，不能与原密码相同。请换一个。",
            ASK_EN,
            "The password does not do: at least 12 characters, not the account's name, not the one before. Choose another.",
        ],
        Reason::AccountExists => [
            ASK_ZH,
            "同名账号已存在。请换一个账号名，或修改原有账号。",
            ASK_EN,
            "An account of that name exists. Take another name, or change the account that is there.",
        ],
        Reason::LastAdministrator => [
            ASK_ZH,
            "这是最后一个账号管理员，不能停用或改变职责。请先另设一名管理员。",
            ASK_EN,
            "It is the last account that can keep accounts. Give that role to somebody else first.",
        ],
        Reason::PersonNeeded => [
            ASK_ZH,
            "此操作须由本人登录后办理，不能使用机器令牌。请登录后重试。",
            ASK_EN,
            "A person must do this, signed in; a token cannot. Sign in and send it again.",
        ],
        Reason::PeerUnreachable => [
            "对方单位暂时联系不上，请过几分钟再试。",
            "其他机构的节点没有应答。请稍后重试；持续不通请电话联系对方。",
            "The other institution cannot be reached. Please try again in a few minutes.",
            "Another institution's node does not answer. Try again; if it goes on, telephone them.",
        ],
        Reason::Closing => [
            LATER_ZH,
            "节点正在关闭。请等其重新启动后再试。",
            LATER_EN,
            "The node is shutting down. Try again when it is back.",
        ],
        Reason::Internal => [
            "系统出了问题，不是您的错。请找工作人员。",
            "节点内部故障。请记下时间和编号，并通知管理员。",
            "Something went wrong on our side; it is not your fault. Please ask the staff.",
            "A defect of this node. Note the time and the request's id, and tell the administrator.",
        ],
        Reason::ResidentDiffers => [
            "登记信息与名单对不上，请工作人员核对您的证件。",
            "所填内容与社区居民名单不一致。请核对证件：填错的改正表单，名单有误的先更正名单。",
            "Your details do not match the community's list. Please ask the staff to check your document.",
            "The list of residents says otherwise. Compare with the document: correct the form, or the list first.",
        ],
        Reason::ResidentUnknown => [
            "名单上还没有您，请工作人员按证件为您登记。",
            "社区居民名单上没有此人。请按证件填写完整的表单，或先导入名单。",
            "You are not on the community's list yet. Please let the staff take down your details.",
            "This person is not on the list of residents. Fill in the whole form from the document, or import the list.",
        ],
        Reason::TooSlow => [
            "网络太慢，没有传完。请换个信号好的地方再试。",
            "请求未在规定时间内传完。请检查网络后重新发送，图片可先缩小。",
            "The connection is too slow. Please try again where the signal is better.",
            "The request did not arrive in time. Check the network and send it again; make pictures smaller.",
        ],
        Reason::SignatureInvalid => [
            ASK_ZH,
            "另一家机构的节点发来的请求没有有效签名，或签名所用密钥与登记的不符。请通知系统管理员核对双方密钥。",
            ASK_EN,
            "A request of another institution's node is not signed, or not with the key on record. Tell the operator to compare keys.",
        ],
        Reason::SignatureStale => [
            ASK_ZH,
            "另一家机构的节点发来的请求，其签名时间与本机相差太大。请通知系统管理员核对两台机器的时钟。",
            ASK_EN,
            "A request of another institution's node was signed at a time far from the clock here. Tell the operator to compare clocks.",
        ],
        Reason::SignatureReplayed => [
            ASK_ZH,
            "同一个已签名的节点请求被重复发送，第二次未处理。若反复出现，请通知系统管理员检查网络。",
            ASK_EN,
            "A signed request between nodes came twice; the second one was not done. If it happens again, tell the operator to check the network.",
        ],
        Reason::TooManyRequests => [
            "操作太频繁，请稍等几秒再试。",
            "请求太频繁，已暂时限制。请等几秒再试；如为程序调用，请按 Retry-After 放慢。",
            "That was too fast. Please wait a few seconds and try again.",
            "Too many requests from here. Wait some seconds; a program slows down as Retry-After says.",
        ],
        Reason::OidcOff => [
            ASK_ZH,
            "本节点没有配置统一身份认证。请用账号名和密码登录，或请管理员在配置文件中添加 [oidc] 一节。",
            ASK_EN,
            "No identity provider is configured at this node. Sign in with name and password, or add [oidc] to node.toml.",
        ],
        Reason::ProviderUnreachable => [
            LATER_ZH,
            "统一身份认证服务没有应答，或应答无法使用。请稍后重试；持续如此请管理员查看节点日志。",
            LATER_EN,
            "The identity provider does not answer, or not usably. Try again; if it goes on, see the node's log for why.",
        ],
        Reason::ProviderRefused => [
            ASK_ZH,
            "统一身份认证服务没有放行，或不接受此次登录凭据。请重新登录，仍不行请联系认证服务的管理员。",
            ASK_EN,
            "The identity provider let nobody in or refused the code. Sign in anew; if it stays so, ask who runs the provider.",
        ],
        Reason::SignInLost => [
            ASK_ZH,
            "此次登录不是由本浏览器发起，或已超过十分钟，或已使用过。请从头重新登录。",
            ASK_EN,
            "This browser began no such sign-in, or it took over ten minutes, or it was used already. Begin the sign-in anew.",
        ],
        Reason::ProviderTokenInvalid => [
            ASK_ZH,
            "认证服务的令牌未通过验证，可能已过期、用途不符或签名有误。请重新登录，机器请换用新的令牌。",
            ASK_EN,
            "The provider's token does not verify: over, meant for another use, or not its own. Sign in anew, or get a new one.",
        ],
        Reason::AccountNotLinked => [
            ASK_ZH,
            "认证服务认识您，但本节点没有与之关联的账号，或账号已停用。请找本机构的账号管理员。",
            ASK_EN,
            "The provider knows you, and no account here is linked to you, or it is disabled. Ask who keeps the accounts.",
        ],
        Reason::SubjectTaken => [
            ASK_ZH,
            "该身份已关联到另一个账号。请先解除原来的关联，再进行关联。",
            ASK_EN,
            "Another account is linked to that subject. Unlink that one first, or name another subject.",
        ],
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Longest text for the holder in English: two lines on a small phone in large type.
    const MAX_HOLDER_CHARS: usize = 160;

    /// Longest text for the holder in Chinese.
    const MAX_HOLDER_ZH_CHARS: usize = 40;

    fn is_chinese(c: char) -> bool {
        ('\u{4e00}'..='\u{9fff}').contains(&c)
    }

    #[test]
    fn every_reason_has_its_texts() {
        for reason in Reason::ALL {
            let [zh, en] = [Language::Zh, Language::En].map(|language| texts(*reason, language));
            for text in [zh.holder, zh.desk] {
                assert!(text.chars().filter(|c| is_chinese(*c)).count() >= 5, "{reason}: {text}");
                assert!(text.ends_with('。'), "{reason}: {text}");
                assert!(!text.contains([',', ';', '!', '?']), "{reason}: half-width punctuation: {text}");
            }
            for text in [en.holder, en.desk] {
                assert!(text.len() >= 15 && text.is_ascii(), "{reason}: {text}");
                assert!(text.ends_with('.'), "{reason}: {text}");
            }
            assert!(en.holder.chars().count() <= MAX_HOLDER_CHARS, "{reason}");
            assert!(zh.holder.chars().count() <= MAX_HOLDER_ZH_CHARS, "{reason}");
        }
    }

    #[test]
    fn no_two_reasons_share_a_desk_text() {
        for language in [Language::Zh, Language::En] {
            let mut seen: BTreeMap<&str, Reason> = BTreeMap::new();
            for reason in Reason::ALL {
                let text = texts(*reason, language).desk;
                if let Some(other) = seen.insert(text, *reason) {
                    panic!("{reason} and {other} say the same to the desk: {text}");
                }
            }
        }
    }

    #[test]
    fn a_language_is_not_taken_for_the_other() {
        assert!(texts(Reason::Expired, Language::Zh).holder.contains("过期"));
        assert!(texts(Reason::Expired, Language::En).holder.contains("expired"));
    }
}
