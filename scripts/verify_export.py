#!/usr/bin/env python3
"""An outsider's second opinion on an export of the voucher ledger.

    scripts/verify_export.py DIR --registrar-vkey VKEY [--evidence DIR] [--json]
    scripts/verify_export.py --self-test [DIR]

It shares no code with the nodes: it was written from docs/record-format.md, docs/protocol.md and the C2SP specifications
(signed-note, tlog-checkpoint, tlog-tiles, tlog-cosignature). The only thing that it trusts is the registrar's log key, VKEY
(given again where it was replaced). From it follows everything else:

    VKEY -> the registrar's signed head -> every entry under its root -> members' keys, enrolments, suspensions
         -> every member's signed head  -> every entry under that     -> vouchers, figures, weeks

It is one file, long as it is, so that it can be carried anywhere and read from top to bottom: bytes, Merkle trees, notes, records, tokens,
membership, vouchers, statistics, weeks, report, self-test. Bundles and lines are read one at a time; what stays in memory is 40 bytes for
each entry, the chain records themselves, and what each adds to its week.

What names a record behind the exported heads waits, as it does at a node: it is counted and not called wrong. With --evidence, a directory of
files that auditors serve under /v1/audit/evidence/, findings about weeks are counted again by exactly the sizes that they cover.

Not judged, since no export says it: contested vouchers of forked logs (a fork is the proof of another head), back-dating (the auditor's
clock), and the openings behind digests. Not read: parquet/ (the standard library cannot; `scripts/check_export` compares it), and the
readable part of records/*.jsonl. Not compared: other findings of auditors; what they are about is judged here from the records themselves.

Exit code 0: all verified. 1: something is wrong, and each finding names log, index and what. 2: it could not be judged: something is
missing, cannot be read, or is of a version that is not known here, and nothing else is wrong.
Needs Python 3.11 and the package `cryptography`.
"""
from __future__ import annotations

import argparse
import base64
import hashlib
import json
import os
import stat
import sys
import tempfile
from array import array
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Iterator

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature


class Unjudged(Exception):
    """Input that is missing or cannot be read at all: exit code 2."""


class Bad(Exception):
    """Something that is not as the documents say."""


# ---- bytes ---------------------------------------------------------------------------------------------------------

MAX_ENTRY, MAX_NOTE, MAX_JSON, MAX_LOGS = 7168, 128 * 1024, 1024 * 1024, 1024
MAX_BUNDLE, MAX_LINE, MAX_EVIDENCE = 256 * (2 + 65535), 256 * 1024, 64 * 1024


def sha256(*parts: bytes) -> bytes:
    h = hashlib.sha256()
    for part in parts:
        h.update(part)
    return h.digest()


def open_file(path: Path) -> Any:
    """A regular file, whatever else may lie there: opening a pipe would wait for ever."""
    try:
        number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        file = os.fdopen(number, "rb")
    except (OSError, ValueError) as error:
        raise Unjudged(f"{path}: {getattr(error, 'strerror', None) or 'no name of a file'}") from None
    if not stat.S_ISREG(os.fstat(number).st_mode):
        file.close()
        raise Unjudged(f"{path}: not a file")
    return file


def read_file(path: Path, limit: int) -> bytes:
    """A whole file, if it is not larger than `limit`."""
    try:
        with open_file(path) as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise Unjudged(f"{path}: {error.strerror}") from None
    if len(data) > limit:
        raise Unjudged(f"{path}: larger than {limit} bytes")
    return data


class Export:
    """The files of an export. Nothing outside of its directory is read, wherever symbolic links lead."""

    def __init__(self, base: Path) -> None:
        self.base, self.root = base, base.resolve()

    def inside(self, path: Path) -> Path:
        try:
            real = path.resolve()
        except (OSError, RuntimeError, ValueError):
            raise Unjudged(f"{path}: a symbolic link that leads nowhere") from None
        if not real.is_relative_to(self.root):
            raise Unjudged(f"{path}: a symbolic link out of the export")
        return real

    def has(self, path: Path) -> bool:
        return os.path.lexists(path)

    def read(self, path: Path, limit: int) -> bytes:
        self.inside(path)
        return read_file(path, limit)

    def lines(self, path: Path, limit: int) -> Iterator[bytes]:
        """A file's lines, each at most `limit` long."""
        self.inside(path)
        with open_file(path) as file:
            while line := file.readline(limit + 1):
                if len(line) > limit:
                    raise Unjudged(f"{path}: a line longer than {limit} bytes")
                yield line


def unbase64(text: str) -> bytes:
    """Strict base64: right padding, no stray bits."""
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (ValueError, UnicodeError):
        raise Bad("bad base64") from None
    if base64.b64encode(data).decode() != text:
        raise Bad("base64 is not canonical")
    return data


# ---- Merkle (RFC 6962, section 2.1) --------------------------------------------------------------------------------


def leaf_hash(entry: bytes) -> bytes:
    return sha256(b"\x00", entry)


class Tree:
    """Leaves go in from the left; the stack holds one root for each set bit of the size."""

    def __init__(self) -> None:
        self.size, self.stack = 0, []

    def add(self, leaf: bytes) -> None:
        bits, node = self.size, leaf
        while bits & 1:
            node = sha256(b"\x01", self.stack.pop(), node)
            bits >>= 1
        self.stack.append(node)
        self.size += 1

    def root(self) -> bytes:
        if not self.stack:
            return sha256(b"")
        root = self.stack[-1]
        for left in reversed(self.stack[:-1]):
            root = sha256(b"\x01", left, root)
        return root


def root_of(leaves: bytearray | bytes, size: int) -> bytes:
    tree = Tree()
    for i in range(size):
        tree.add(bytes(leaves[32 * i : 32 * i + 32]))
    return tree.root()


def tile_path(kind: str, number: int, width: int) -> str:
    """tlog-tiles: 1234067 is x001/x234/067, and a partial one has its width behind it."""
    groups = [f"{number % 1000:03}"]
    while number >= 1000:
        number //= 1000
        groups.insert(0, f"x{number % 1000:03}")
    return f"tile/{kind}/" + "/".join(groups) + (f".p/{width}" if width < 256 else "")


def tile(export: Export, log: Path, kind: str, number: int, width: int, limit: int) -> tuple[bytes, bool]:
    """A tile and whether it is the full one instead of the partial one that was asked for."""
    part, full = log / tile_path(kind, number, width), log / tile_path(kind, number, 256)
    if width < 256 and not export.has(part) and export.has(full):
        return export.read(full, limit), True
    return export.read(part, limit), False


def entries(export: Export, log: Path, size: int, wrong: Any) -> Iterator[tuple[int, bytes]]:
    """Every entry below `size`, one bundle in memory. `wrong(index, what)` is told of a bundle that ends badly."""
    for number in range((size + 255) // 256):
        width = min(256, size - 256 * number)
        data, longer = tile(export, log, "entries", number, width, MAX_BUNDLE)
        at = 0
        for i in range(width):
            index = 256 * number + i
            end = at + 2 + int.from_bytes(data[at : at + 2], "big")
            if at + 2 > len(data) or end > len(data):
                wrong(index, "the bundle ends inside or before this entry")
                return
            yield index, data[at + 2 : end]
            at = end
        if at != len(data) and not longer:
            wrong(256 * number + width - 1, "bytes are left over behind the last entry of the bundle")


# ---- notes (C2SP signed-note, tlog-checkpoint, tlog-cosignature) ----------------------------------------------------


# Ed25519 as the nodes have it: a key is canonical, of prime order and not of small order; a signature's R is not of small order either.
P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
SMALL_ORDER = {0, 1, P - 1, P, P + 1,
               2707385501144840649318225287225658788936804267575313519463743609750303402022,
               55188659117513257062467267217118295137698188065244968500265048394206261417927}  # the y of the eight points, and other spellings
KEYS: dict[bytes, bool] = {}


def fit_key(key: bytes) -> bool:
    """Whether a key may be registered."""
    if key not in KEYS:
        if len(KEYS) > 100_000:
            KEYS.clear()
        KEYS[key] = prime_order(key)
    return KEYS[key]


def prime_order(key: bytes) -> bool:
    """Whether these bytes are the one spelling of a point of prime order (RFC 8032, sections 5.1.3 and 5.1.4)."""
    y, odd = int.from_bytes(key, "little") & (2**255 - 1), key[31] >> 7
    if y >= P or y in SMALL_ORDER:
        return False
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    if (x * x - square) % P or x == 0:
        return False
    x = x if x & 1 == odd else P - x
    point, sum_ = (x, y, 1, x * y % P), (0, 1, 1, 0)
    for bit in bin(L)[2:]:
        sum_ = add_points(sum_, sum_)
        sum_ = add_points(sum_, point) if bit == "1" else sum_
    return sum_[0] % P == 0 and (sum_[1] - sum_[2]) % P == 0


def add_points(p: tuple[int, int, int, int], q: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % P, (p[1] + p[0]) * (q[1] + q[0]) % P
    c, d = 2 * p[3] * q[3] * D % P, 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def ed25519_ok(key: bytes, signature: bytes, message: bytes) -> bool:
    if any(int.from_bytes(point, "little") & (2**255 - 1) in SMALL_ORDER for point in (key, signature[:32])):
        return False
    try:
        ed25519.Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
        return True
    except (InvalidSignature, ValueError):
        return False


def key_id(name: str, kind: int, key: bytes) -> bytes:
    return sha256(name.encode(), b"\n", bytes([kind]), key)[:4]


def parse_vkey(text: str) -> tuple[str, bytes]:
    """name+id+base64(0x01 key): the name and the key."""
    parts = text.strip().split("+", 2)
    if len(parts) != 3 or not parts[0]:
        raise Bad("not a verification key: name+id+key is expected")
    data = unbase64(parts[2])
    if len(data) != 33 or data[0] != 1:
        raise Bad("not an Ed25519 verification key")
    if key_id(parts[0], 1, data[1:]).hex() != parts[1]:
        raise Bad("the id of the verification key is not that of its key")
    return parts[0], data[1:]


@dataclass
class Note:
    text: bytes
    lines: list[tuple[str, bytes, bytes]]  # name, key id, signature

    def signed_by(self, name: str, key: bytes) -> bool:
        for who, kid, signature in self.lines:
            if who == name and kid == key_id(name, 1, key):
                return len(signature) == 64 and ed25519_ok(key, signature, self.text)
        return False

    def cosigned(self, key: bytes) -> tuple[str, bool] | None:
        """The first cosignature line whose id fits this witness key: the name that it bears, and whether it holds."""
        for who, kid, signature in self.lines:
            if kid == key_id(who, 4, key):
                time = int.from_bytes(signature[:8], "big")
                message = f"cosignature/v1\ntime {time}\n".encode() + self.text
                return who, len(signature) == 72 and ed25519_ok(key, signature[8:], message)
        return None


def parse_note(data: bytes) -> Note:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        raise Bad("a note that is no UTF-8") from None
    if any(b < 0x20 and b != 0x0A for b in data):
        raise Bad("a note with control characters")
    cut = data.rfind(b"\n\n")
    if cut < 0 or not data.endswith(b"\n") or cut + 2 >= len(data):
        raise Bad("a note without signatures")
    lines = []
    for line in data[cut + 2 : -1].decode().split("\n"):
        parts = line.split(" ")
        if len(parts) != 3 or parts[0] != "\u2014" or not parts[1] or "+" in parts[1] or len(lines) >= 64:
            raise Bad("a bad signature line")
        blob = unbase64(parts[2])
        if len(blob) < 5:
            raise Bad("a signature line that is too short")
        lines.append((parts[1], blob[:4], blob[4:]))
    return Note(data[: cut + 1], lines)


def parse_checkpoint(text: bytes, origin: str) -> tuple[int, bytes]:
    lines = text.decode().split("\n")[:-1]
    if len(lines) < 3 or "" in lines:
        raise Bad("a checkpoint has three lines")
    if lines[0] != origin:
        raise Bad(f"the checkpoint is of {lines[0]!r}")
    if not (lines[1].isascii() and lines[1].isdigit()) or str(int(lines[1][:20])) != lines[1] or int(lines[1]) >= 2**63:
        raise Bad("a bad size")
    size, root = int(lines[1]), unbase64(lines[2])
    if len(root) != 32 or (size == 0 and root != sha256(b"")):
        raise Bad("a bad root")
    return size, root


# ---- records (docs/record-format.md) --------------------------------------------------------------------------------
#
# A type is a word for what has no parts, or a tuple: ("fields", (name, type), ...), ("enum", (variant, fields...), ...),
# ("list", type), ("option", type). Values are dicts, (variant, dict), lists, None or the value.

NUMBERS = {"u8": (1, False), "u16": (2, False), "i16": (2, True), "i32": (4, True), "u32": (4, False), "u64": (8, False), "i64": (8, True)}
FIXED = {"b16": 16, "b32": 32, "b64": 64}
MAX_TIME = 253_402_300_799_999  # the end of the year 9999; a time is not before 1970 and not after
LONGEST = {"inst": 24, "short": 40}
ALPHABET = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")


def words(text: str) -> tuple:
    return ("enum", *((word,) for word in text.replace(",", " ").split()))


def fields(*parts: Any) -> tuple:
    return ("fields", *parts)


NAME = fields(("institution", "inst"), ("index", "u64"), ("id", "b32"))
VOUCHER = fields(("issuer", "inst"), ("uuid", "b16"))
ROLE = words("Issuer Community Voucher Hospital Auditor")
VOID = words("IssuerDecision, EntitlementEnded, HolderDied, Mistake, SuspectedFraud, ClaimRefused, TakenBack, Lapsed")
ASSIST = words("NoPhone, PhoneBroken, NeedsHelp")
PRESENTATION = fields(("cose", "bytes"), ("assisted", ("option", fields(("helper", "b16"), ("reason", ASSIST)))))
WITNESSED = fields(("presentation", PRESENTATION), ("registrar", NAME))
NAMES = ("list", NAME)
STEP = (
    "enum",
    ("Generated", ("programme", NAME), ("valid_from", "time"), ("valid_until", "time")),
    ("Sent", ("community", "inst")),
    ("Encoded", ("token", "text")),
    ("Issued", ("enrolment", NAME), ("presentation", PRESENTATION)),
    ("HandedOver", ("enrolment", NAME)),
    ("Booked", ("hospital", "inst"), ("details", "b32"), ("respond_by", "time"), ("use_from", "time"), ("use_by", "time")),
    ("BookingConfirmed",),
    ("BookingDeclined", ("reason", words("SlotTaken, SlotUnknown, DetailsMissing, DepartmentNotAllowed, Unable"))),
    ("BookingReleased", ("reason", words("Cancelled, Moved, Unable"))),
    ("BookingLapsed", ("position", NAME)),
    ("UseConfirmed", ("presentation", PRESENTATION), ("complete_by", "time")),
    ("UseAborted", ("reason", words("DeskError, HolderLeft, Unable"))),
    ("ExamCompleted", ("evidence", "b32"), ("presentation", PRESENTATION), ("claim_by", "time")),
    ("RedemptionClaimed", ("answers", ("option", NAME))),
    ("Redeemed",),
    ("ClaimRejected", ("reason", words("OpeningMissing, OpeningDiffers, DepartmentNotAllowed, PerformerElsewhere, TimesDiffer, ItemNotDone, Disputed, Unfounded")), ("is_final", "bool")),
    ("Returned", ("reason", words("VoidRequested, NotNeeded, HolderGaveBack, Leaving"))),
    ("Voided", ("cause", ("enum", ("Reason", ("reason", VOID)), ("Expired", ("positions", NAMES))))),
    ("Reclaimed", ("reason", words("Silent, Standing")), ("positions", NAMES)),
    ("Reversed", ("reason", words("Mistake, Disputed, Fraud, CutOff")), ("approver", "b16"), ("void", "bool")),
    ("Resolved", ("outcome", ("enum", ("Keep", ("record", NAME)), ("Void", ("reason", VOID)))), ("approver", "b16")),
)
NOTE = (
    "enum",
    ("CancelRequested", ("witnessed", WITNESSED)),
    ("MoveRequested", ("witnessed", WITNESSED), ("details", "b32"), ("hospital", "inst")),
    ("UsePresented", ("token", "b32")),
    ("HelpRequested", ("step", words("Book, Cancel")), ("details", "b32"), ("witnessed", WITNESSED)),
    ("UseDisputed", ("witnessed", WITNESSED)),
    ("VoidRequested", ("reason", VOID)),
    ("CompensationGranted", ("superseded", NAME), ("approver", "b16")),
    ("Verified", ("place", words("CommunityDesk, HospitalDesk, Terminal")), ("booked", "bool"), ("examined", "bool"), ("redeemed", "bool"), ("valid", "bool"), ("outcome", words("Good, Refused"))),
    ("NoShow",), ("QrRetired",), ("QrRestored",), ("RecordRemoved",),
)
ENTRY = fields(("institution", "inst"), ("roles", ("list", ROLE)), ("url", "text"), ("origin", "text"),
               ("log", "b32"), ("node", "b32"), ("witness", "b32"), ("proof_log", "b64"), ("proof_node", "b64"), ("proof_witness", "b64"))
HOLDER_KEY = ("enum", ("Ed25519", ("key", "b32")), ("Es256", ("odd", "bool"), ("x", "b32")))
STANDING = (("institution", "inst"), ("from", "u64"), ("approver", "b16"))
REGISTRAR = (
    "enum",
    ("MemberRegistered", ("entry", ENTRY)),
    ("MemberChanged", ("institution", "inst"), ("from", "u64"), ("roles", ("list", ROLE)), ("url", "text")),
    ("MemberSuspended", *STANDING), ("MemberRestored", *STANDING), ("MemberRevoked", *STANDING),
    ("KeyRotated", ("institution", "inst"), ("from", "u64"), ("purpose", words("Log, Node, Witness")), ("key", "b32"), ("proof", "b64"), ("by_old", ("option", "b64")), ("approver", "b16")),
    ("LogFrozen", ("institution", "inst"), ("size", "u64"), ("root", "b32"), ("approver", "b16")),
    ("ParametersPublished", ("grace_before_use", "i64"), ("grace_after_use", "i64"), ("complete_within", "i64"), ("claim_within", "i64"), ("correction_period", "i64"), ("format_level", "u8")),
    ("Enrolled", ("id", "b16"), ("key", ("option", HOLDER_KEY)), ("programme", NAME), ("community", "inst"), ("voucher_module", "inst")),
    ("EnrolmentBlocked", ("enrolment", NAME), ("reason", words("LostOrStolen, Died, EntitlementEnded, HolderAsked"))),
    ("EnrolmentKeyChanged", ("enrolment", NAME), ("key", ("option", HOLDER_KEY))),
    ("EnrolmentMoved", ("enrolment", NAME), ("community", "inst"), ("voucher_module", "inst")),
    ("CardIssued", ("enrolment", NAME), ("card", "b16"), ("key", "b32")),
    ("LogSucceeded", ("institution", "inst"), ("size", "u64"), ("root", "b32"), ("successor", "inst"), ("approver", "b16")),
    ("IssuerSucceeded", ("issuer", "inst"), ("from", "u64"), ("successor", "inst"), ("approver", "b16")),
)
POLICY = fields(("name", "short"), ("title_zh", "text"), ("title_en", "text"), ("service", "short"), ("department", "text"),
                ("classes", ("list", words("Elderly, Chronic, Pregnant, Disabled"))), ("validity_days", "u16"), ("vouchers_per_holder", "u16"),
                ("departments", ("list", "short")), ("card_allowed", "bool"))
PROGRAMME = ("enum", ("Published", ("policy", POLICY)), ("Changed", ("programme", NAME), ("policy", POLICY)))
MEASURE = words("Generated, Sent, Issued, BookingRequested, Booked, Used, UsedAssisted, Examined, Claimed, Rejected, Redeemed, Reversed, Returned, Reclaimed, Voided")
STATISTICS = fields(("from", "time"), ("until", "time"), ("offset", "i16"),
                    ("covers", ("list", fields(("institution", "inst"), ("size", "u64"), ("root", "b32")))),
                    ("table", "b32"), ("rows", "u32"), ("totals", ("list", fields(("measure", MEASURE), ("count", "u64")))))
ROW = fields(("day", "i32"), ("programme", NAME), ("community", ("option", "inst")), ("hospital", ("option", "inst")), ("measure", MEASURE), ("count", "u64"))
FINDINGS = words("Fork, RootMismatch, BadRecord, ClockWentBack, RuleBroken, SecondSuccessor, BadPresentation, PresentationTwice, StatisticsDiffer, "
                 "TakenBackWrongly, SettledBeforeKnown, UseDisputed, NotConserved, OverlappingPresence, BackDated, UsedAfterBlock, "
                 "ExaminedBeforeIssue, OutlierHospital, AssistedShare")
FINDING = fields(("kind", FINDINGS),
                 ("institution", "inst"), ("voucher", ("option", VOUCHER)), ("records", NAMES), ("count", "u64"), ("evidence", ("option", "b32")))
BODY = (
    "enum",
    ("Chain", ("voucher", VOUCHER), ("prev", ("option", NAME)), ("registrar", NAME), ("step", STEP)),
    ("Note", ("voucher", VOUCHER), ("about", NAME), ("note", NOTE)),
    ("Registrar", ("event", REGISTRAR)),
    ("Programme", ("event", PROGRAMME)),
    ("Statistics", ("figures", STATISTICS)),
    ("Heartbeat",),
    ("Finding", ("finding", FINDING)),
    ("Insisted", ("what", words("StartRule, TrustAnchor"))),
    ("Approved", ("record", NAME), ("approver", "b16")),
)
RECORD = fields(("institution", "inst"), ("index", "u64"), ("role", ROLE), ("at", "time"), ("operator", ("option", "b16")),
                ("idempotency", ("option", fields(("key", "b32"), ("request", "b32")))), ("body", BODY))


class Reader:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, n: int) -> bytes:
        if n > len(self.data) - self.at:
            raise Bad("it ends too early")
        self.at += n
        return self.data[self.at - n : self.at]

    def number(self, kind: str) -> int:
        width, signed = NUMBERS[kind]
        return int.from_bytes(self.take(width), "little", signed=signed)

    def read(self, kind: Any) -> Any:
        if isinstance(kind, str):
            return self.simple(kind)
        what, *parts = kind
        if what == "fields":
            return {name: self.read(of) for name, of in parts}
        if what == "enum":
            number = self.number("u32")
            if number >= len(parts):
                raise Bad(f"an enum has no variant {number}")
            variant, *inner = parts[number]
            return variant, {name: self.read(of) for name, of in inner}
        if what == "option":
            return self.read(parts[0]) if self.simple("bool") else None
        count = self.number("u64")
        if count > len(self.data):
            raise Bad("a list longer than the record")
        return [self.read(parts[0]) for _ in range(count)]

    def simple(self, kind: str) -> Any:
        if kind in NUMBERS:
            return self.number(kind)
        if kind in FIXED:
            return self.take(FIXED[kind])
        if kind == "bool":
            byte = self.take(1)[0]
            if byte > 1:
                raise Bad("a bool or option that is neither 00 nor 01")
            return byte == 1
        if kind == "time":
            time = self.number("i64")
            if not 0 <= time <= MAX_TIME:
                raise Bad("a time before 1970 or after 9999")
            return time
        data = self.take(self.number("u64"))
        if kind == "bytes":
            return data
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            raise Bad("a text that is no UTF-8") from None
        if kind in LONGEST and not (1 <= len(text) <= LONGEST[kind] and ALPHABET.issuperset(text)):
            raise Bad(f"{text!r} is no institution and no short name")
        return text


def write(kind: Any, value: Any) -> bytes:
    """The canonical bytes of a value."""
    if isinstance(kind, str):
        if kind in NUMBERS:
            width, signed = NUMBERS[kind]
            return value.to_bytes(width, "little", signed=signed)
        if kind in FIXED:
            return value
        if kind == "bool":
            return b"\x01" if value else b"\x00"
        if kind == "time":
            return value.to_bytes(8, "little", signed=True)
        data = value if kind == "bytes" else value.encode()
        return len(data).to_bytes(8, "little") + data
    what, *parts = kind
    if what == "fields":
        return b"".join(write(of, value[name]) for name, of in parts)
    if what == "enum":
        number = next(n for n, part in enumerate(parts) if part[0] == value[0])
        return number.to_bytes(4, "little") + b"".join(write(of, value[1][name]) for name, of in parts[number][1:])
    if what == "option":
        return b"\x00" if value is None else b"\x01" + write(parts[0], value)
    return len(value).to_bytes(8, "little") + b"".join(write(parts[0], item) for item in value)


def decode(entry: bytes) -> dict:
    if not 1 <= len(entry) <= MAX_ENTRY:
        raise Bad("empty, or longer than a record may be")
    reader = Reader(entry[1:])
    record = reader.read(RECORD)
    if reader.at != len(reader.data):
        raise Bad("bytes are left over")
    if b"\x01" + write(RECORD, record) != entry:
        raise Bad("not canonical")
    return record


Name = tuple[str, int, bytes]


def name_of(value: dict) -> Name:
    return value["institution"], value["index"], value["id"]


def names_in(kind: Any, value: Any) -> Iterator[Name]:
    """Every record name that stands anywhere in a value."""
    if isinstance(kind, str) or value is None:
        return
    if kind is NAME:
        yield name_of(value)
    elif kind[0] == "fields":
        for name, of in kind[1:]:
            yield from names_in(of, value[name])
    elif kind[0] == "enum":
        for name, of in next(part for part in kind[1:] if part[0] == value[0])[1:]:
            yield from names_in(of, value[1][name])
    elif kind[0] == "option":
        yield from names_in(kind[1], value)
    else:
        for item in value:
            yield from names_in(kind[1], item)


# ---- tokens (docs/record-format.md, Presentations) -------------------------------------------------------------------


def cbor(data: bytes, at: int = 0, depth: int = 0) -> tuple[Any, int]:
    """One item of the little CBOR that tokens use: integers, bytes, texts, null, arrays, maps, tag 18. Shortest forms only."""
    if depth > 4 or at >= len(data):
        raise Bad("CBOR too deep or too short")
    major, low = data[at] >> 5, data[at] & 31
    at += 1
    if data[at - 1] == 0xF6:
        return None, at
    if low < 24:
        n = low
    elif low <= 27:
        width = 1 << (low - 24)
        n = int.from_bytes(data[at : at + width], "big")
        if at + width > len(data) or n < (24 if width == 1 else 1 << (4 * width)):
            raise Bad("CBOR that is cut or not in its shortest form")
        at += width
    else:
        raise Bad("CBOR of unknown length")
    if major in (0, 1):
        return (n if major == 0 else -1 - n), at
    if major in (2, 3):
        if at + n > len(data):
            raise Bad("CBOR that is cut")
        raw = data[at : at + n]
        try:
            return (raw if major == 2 else raw.decode()), at + n
        except UnicodeDecodeError:
            raise Bad("CBOR text that is no UTF-8") from None
    if major == 6 and n == 18:
        return cbor(data, at, depth + 1)
    if major == 4 and n <= 8:
        items = []
        for _ in range(n):
            item, at = cbor(data, at, depth + 1)
            items.append(item)
        return items, at
    if major == 5 and n <= 8:
        pairs: dict[int, Any] = {}
        before = b""
        for _ in range(n):
            start = at
            key, at = cbor(data, at, depth + 1)
            if not isinstance(key, int) or data[start:at] <= before:
                raise Bad("CBOR map whose keys are not integers in order")
            before = data[start:at]
            pairs[key], at = cbor(data, at, depth + 1)
        return pairs, at
    raise Bad("CBOR of a kind that tokens do not have")


@dataclass
class Token:
    algorithm: int
    kid: bytes
    claims: dict[int, Any]
    signed: bytes
    signature: bytes

    def verifies(self, key: tuple[str, dict]) -> bool:
        kind, parts = key
        if kind == "Ed25519":
            return self.algorithm == -8 and fit_key(parts["key"]) and ed25519_ok(parts["key"], self.signature, self.signed)
        try:
            point = (b"\x03" if parts["odd"] else b"\x02") + parts["x"]
            public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
            r, s = (int.from_bytes(self.signature[i : i + 32], "big") for i in (0, 32))
            public.verify(encode_dss_signature(r, s), self.signed, ec.ECDSA(hashes.SHA256()))
            return self.algorithm == -7
        except (InvalidSignature, ValueError):
            return False


def byte_string(data: bytes) -> bytes:
    n = len(data)
    return (bytes([0x40 + n]) if n < 24 else bytes([0x58, n]) if n < 256 else b"\x59" + n.to_bytes(2, "big")) + data


def parse_token(data: bytes, limit: int) -> Token:
    if len(data) > limit:
        raise Bad("a token that is too long")
    if data[:2] != b"\xd2\x84":
        raise Bad("not a COSE_Sign1")
    parts, end = cbor(data)
    if end != len(data) or not isinstance(parts, list) or len(parts) != 4 or not all(isinstance(parts[i], bytes) for i in (0, 2, 3)) or parts[1] != {}:
        raise Bad("a COSE_Sign1 of another form")
    header, end = cbor(parts[0])
    if end != len(parts[0]) or not isinstance(header, dict) or set(header) != {1, 4} or header[1] not in (-7, -8):
        raise Bad("a COSE header of another form")
    claims, end = cbor(parts[2])
    if end != len(parts[2]) or not isinstance(claims, dict):
        raise Bad("claims that are no map")
    if not isinstance(header[4], bytes) or len(header[4]) != 8 or len(parts[3]) != 64:
        raise Bad("a COSE key id or signature of another length")
    signed = b"\x84\x6aSignature1" + byte_string(parts[0]) + b"\x40" + byte_string(parts[2])
    return Token(header[1], header[4], claims, signed, parts[3])


STEP_CLAIM = {"Issued": -3, "UseConfirmed": -4, "ExamCompleted": -5, "Cancel": -6}
BASE45 = {c: i for i, c in enumerate("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:")}


def unbase45(text: str) -> bytes:
    out = bytearray()
    for i in range(0, len(text), 3):
        group = text[i : i + 3]
        if len(group) == 1 or any(c not in BASE45 for c in group):
            raise Bad("bad base45")
        n, width = sum(BASE45[c] * 45**k for k, c in enumerate(group)), len(group) - 1
        if n >= 256**width:
            raise Bad("bad base45")
        out += n.to_bytes(width, "big")
    return bytes(out)


def claims_voucher(voucher: tuple[str, bytes]) -> bytes:
    return voucher[1] + voucher[0].encode()


def parse_vp1(cose: bytes) -> Token:
    """A holder's presentation taken apart: whom it is for, when, which, and exactly one step. Whether it holds is for others."""
    token = parse_token(cose, 172)
    claims, step = token.claims, set(token.claims) - {3, 6, 7}
    is_id = lambda value, most: isinstance(value, str) and 1 <= len(value) <= most and ALPHABET.issuperset(value)
    if len(step) != 1 or not {6, 7} <= set(claims) or (3 in claims) != bool(step & {-3, -4, -5, -6, -7}):
        raise Bad("it has other claims than a presentation")
    if not isinstance(claims[6], int) or not 0 <= claims[6] < 2**32 or not isinstance(claims[7], bytes) or len(claims[7]) != 8:
        raise Bad("a time or cti that cannot be")
    if 3 in claims and not is_id(claims[3], 24):
        raise Bad("it is for no institution")
    what = step.pop()
    value = claims[what]
    if what in (-4, -5, -6):
        good = isinstance(value, bytes) and is_id(value[16:].decode("ascii", "replace"), 24)
    elif what == -3:
        good = is_id(value, 40)
    elif what == -2:
        good = value is None
    else:
        good = isinstance(value, bytes) and len(value) in ((32,) if what == -7 else (32, 33))
    if not good or what < -7:
        raise Bad("a step that cannot be")
    return token


# ---- membership (the registrar's log; docs/protocol.md, section 5) ----------------------------------------------------

DAY = 86_400_000
FRESH = 600_000  # a change acts ten minutes after its own time
EVER = 2**64  # a horizon that knows everything held
DEFAULTS = {"grace_before_use": DAY, "grace_after_use": 30 * DAY, "complete_within": 7 * DAY, "claim_within": 30 * DAY, "correction_period": 90 * DAY}
MAX_LINKS, MAX_NAMES, MAX_TOKEN_TEXT, MAX_COSE = 128, 8, 311, 512


def later(at: int, span: int) -> int:
    """A time and a span: no time is before 1970 or after 9999."""
    return max(0, min(MAX_TIME, at + span))


@dataclass
class Change:
    """What the registrar wrote of a member: where and when, and from which index of the member's log it holds."""

    position: int
    at: int
    start: int
    what: str  # the event's name
    value: Any = None  # roles, or who succeeds
    root: bytes | None = None  # of a log that ends: its root there


@dataclass
class Member:
    origin: str
    roles: list[str]  # the newest
    keys: dict[str, list[tuple[int, bytes]]]  # by purpose: index from which, key
    changes: list[Change]

    def standing(self, role: str, applies: Any) -> str | None:
        """How it stands in a role by the changes that apply; None if it does not play it."""
        standing, plays = None, False
        for change in self.changes:
            if not applies(change):
                continue
            if change.what == "MemberRegistered":
                standing, plays = "good", role in change.value
            elif change.what == "MemberChanged":
                plays = role in change.value
            elif change.what == "MemberSuspended" and standing == "good":
                standing = "suspended"
            elif change.what == "MemberRestored" and standing == "suspended":
                standing = "good"
            elif change.what in ("MemberRevoked", "LogFrozen", "LogSucceeded") or (change.what == "IssuerSucceeded" and role == "Issuer"):
                standing = change.what
        return standing if plays else None

    def end(self, last: int) -> int | None:
        """The size at which its log was frozen or succeeded, by what the registrar wrote up to `last`."""
        return min((c.start for c in self.changes if c.what in ("LogFrozen", "LogSucceeded") and c.position <= last), default=None)

    def head_keys(self, size: int) -> list[bytes]:
        """Log keys that may sign a head of this size: a replaced one signs none longer than its rotation names."""
        keys = self.keys["Log"]
        return [key for n, (_, key) in enumerate(keys) if n + 1 == len(keys) or size <= keys[n + 1][0]]


@dataclass
class Enrolment:
    id: bytes
    programme: Name
    history: list[tuple[int, int, str, Any]]  # position, at, what, value

    def at(self, position: int) -> dict[str, Any]:
        state: dict[str, Any] = {"key": None, "card": None, "home": None, "blocked": None}
        for where, _, what, value in self.history:
            if where <= position:
                state[what] = value
        return state

    def stale(self, position: int, at: int, horizon: int) -> bool:
        """A block, key or card that the named position does not know and that acts by now."""
        return any(position < where <= horizon and what != "home" and later(since, FRESH) <= at for where, since, what, _ in self.history)


@dataclass(slots=True)
class Link:
    """A chain record, or a note with something that a holder signed."""

    name: Name
    role: str
    at: int
    operator: bytes | None
    prev: Name | None  # of a note: what it is about
    registrar: Name
    step: tuple[str, dict]
    token: Any = None  # the presentation taken apart, or why it cannot be


class Ledger:
    """Everything that the logs say, and what is wrong with it."""

    def __init__(self, registrar: str, offset: int) -> None:
        self.registrar, self.offset = registrar, offset
        self.findings: list[dict[str, Any]] = []
        self.more = 0
        self.unjudged: list[str] = []
        self.counts: Counter[str] = Counter()
        self.leaves: dict[str, bytearray] = {}
        self.times: dict[str, array] = {}  # of each entry; -1 where it is no record
        self.sizes: dict[str, int] = {}  # how far each log can be read
        self.members: dict[str, Member] = {}
        self.enrolments: dict[Name, Enrolment] = {}
        self.policies: dict[Name, list[tuple[int, int, dict]]] = {}  # by programme: index, at, policy
        self.short_names: dict[tuple[str, str], Name] = {}
        self.parameters: list[tuple[int, dict]] = []
        self.chains: dict[tuple[str, bytes], list[Link]] = defaultdict(list)
        self.notes: list[tuple[tuple[str, bytes], str, Link]] = []
        self.statistics: list[tuple[Name, dict]] = []
        self.patterns: list[tuple[Name, int, dict]] = []
        self.acts: list[tuple[str, int, int, str, str]] = []  # log, index, at, whose, tally
        self.named: list[tuple[str, int, Name]] = []
        self.ctis: dict[tuple[str, bytes, bytes], int] = {}
        self.verified: dict[tuple[Name, bytes], bool] = {}

    def wrong(self, log: str, index: int | None, what: str) -> None:
        if len(self.findings) < 1000:
            self.findings.append({"log": log, "index": index, "what": what})
        else:
            self.more += 1

    def stands(self, name: Name) -> bool | None:
        """Whether a record is where it is said to be; None if that log is not here so far."""
        leaves = self.leaves.get(name[0])
        if leaves is None or 32 * name[1] >= len(leaves):
            return None
        return bytes(leaves[32 * name[1] : 32 * name[1] + 32]) == name[2]

    # -- one log

    def read_log(self, export: Export, institution: str, origin: str, directory: str, claimed: int, vkeys: list[tuple[str, bytes]]) -> None:
        log = export.base / directory
        say = lambda index, what: self.wrong(institution, index, what)
        try:
            note = parse_note(export.read(log / "checkpoint", MAX_NOTE))
            size, root = parse_checkpoint(note.text, origin)
        except Bad as bad:
            return say(None, f"checkpoint: {bad}")
        if what := self.unsigned(institution, origin, note, size, vkeys):
            return say(None, f"checkpoint: {what}")
        if size != claimed:
            say(None, f"export.json says {claimed} entries, the signed head {size}")
        self.leaves[institution], self.times[institution], self.sizes[institution] = bytearray(), array("q"), 0
        tree, roots = Tree(), {}
        older = self.cosigned_head(export, log, institution, origin, vkeys)
        try:
            self.read_entries(export, log, institution, size, tree, older and older[0], roots)
        except Unjudged as why:
            self.unjudged.append(str(why))
            size = None
        self.counts["entries"] += tree.size
        if size is not None and (tree.size != size or tree.root() != root):
            say(None, f"the {tree.size} entries do not give the root of the signed head of size {size}")
        if older and roots.get(older[0]) != older[1] and size is not None:
            say(None, f"cosigned-checkpoint: the entries have another root at size {older[0]}")
        if size is not None:
            self.tiles(export, log, institution)
            self.lines(export, institution)
        self.counts["logs"] += 1
        self.cosignatures(institution, "checkpoint", note)

    def unsigned(self, institution: str, origin: str, note: Note, size: int, vkeys: list[tuple[str, bytes]]) -> str | None:
        """Why a head is not signed by who may sign it; None if it is."""
        if vkeys:
            return None if any(note.signed_by(*vkey) for vkey in vkeys if vkey[0] == origin) else "no good signature by the registrar's key that was given"
        member = self.members.get(institution)
        if member is None:
            return "the registrar's log knows no such member"
        if origin != member.origin or not any(note.signed_by(origin, key) for key in member.head_keys(size)):
            return "no good signature by the log key that the registrar's log names"
        return None

    def cosigned_head(self, export: Export, log: Path, institution: str, origin: str, vkeys: list[tuple[str, bytes]]) -> tuple[int, bytes] | None:
        """Size and root of the older head that has cosignatures, if the export has one."""
        if not export.has(log / "cosigned-checkpoint"):
            return None
        try:
            note = parse_note(export.read(log / "cosigned-checkpoint", MAX_NOTE))
            size, root = parse_checkpoint(note.text, origin)
            what = self.unsigned(institution, origin, note, size, vkeys)
        except Bad as bad:
            what = str(bad)
        if what:
            self.wrong(institution, None, f"cosigned-checkpoint: {what}")
            return None
        self.cosignatures(institution, "cosigned-checkpoint", note)
        return size, root

    def cosignatures(self, institution: str, file: str, note: Note) -> None:
        for other, known in self.members.items():
            for _, key in known.keys["Witness"]:
                if (found := note.cosigned(key)) and not found[1]:
                    self.wrong(institution, None, f"{file}: the cosignature of {other} does not verify")
                elif found:
                    self.counts["cosignatures"] += 1

    def read_entries(self, export: Export, log: Path, institution: str, size: int, tree: Tree, mark: int | None, roots: dict[int, bytes]) -> None:
        """Every entry from its bytes on; `roots` gets the root at size `mark`."""
        say = lambda index, what: self.wrong(institution, index, what)
        before, known = 0, True
        for index, entry in entries(export, log, size, say):
            leaf = leaf_hash(entry)
            tree.add(leaf)
            self.leaves[institution] += leaf
            if tree.size == mark:
                roots[mark] = tree.root()
            if known and entry[:1] not in (b"", b"\x01"):
                self.unjudged.append(f"{institution}.{index}: a record of version {entry[0]}; from there on this log is not judged")
                known = False
            if not known:
                continue
            self.sizes[institution] = index + 1
            self.times[institution].append(-1)
            try:
                record = decode(entry)
            except Bad as bad:
                say(index, f"record: {bad}")
                continue
            self.times[institution][index] = record["at"]
            if (record["institution"], record["index"]) != (institution, index):
                say(index, f"record: it says that it is {record['institution']}.{record['index']}")
            elif record["at"] < before:
                say(index, "record: its time is before that of the record before it")
            else:
                self.take((institution, index, leaf), record)
            before = max(before, record["at"])

    def tiles(self, export: Export, log: Path, institution: str) -> None:
        """Tiles of hashes against the entries; those of level 0 name the entry that was changed."""
        hashes, level = bytes(self.leaves[institution]), 0
        while hashes:
            above = bytearray()
            for number in range((len(hashes) + 8191) // 8192):
                held = hashes[8192 * number : 8192 * number + 8192]
                try:
                    data, longer = tile(export, log, str(level), number, len(held) // 32, 8192)
                except Unjudged as why:
                    self.unjudged.append(str(why))
                    data, longer = held, False
                if len(data) != (8192 if longer else len(held)) or data[: len(held)] != held:
                    i = next((i for i in range(0, len(held), 32) if data[i : i + 32] != held[i : i + 32]), 0)
                    self.wrong(institution, (256 * number + i // 32) * 256**level, f"the entries from here do not hash to what the level-{level} tile holds")
                if len(held) == 8192:
                    above += root_of(held, 256)
            hashes, level = bytes(above), level + 1

    def lines(self, export: Export, institution: str) -> None:
        """records/INSTITUTION.jsonl, if it is there: `bytes` are the entry's and `id` is its leaf hash."""
        path, leaves = export.base / "records" / f"{institution}.jsonl", self.leaves[institution]
        if not export.has(path):
            return
        count = 0
        for index, line in enumerate(export.lines(path, MAX_LINE)):
            leaf = bytes(leaves[32 * index : 32 * index + 32])
            try:
                said = json.loads(line)
                if type(said["index"]) is not int or said["index"] != index or bytes.fromhex(said["id"]) != leaf or leaf_hash(unbase64(said["bytes"])) != leaf:
                    raise ValueError
            except (Bad, ValueError, KeyError, TypeError, RecursionError):
                return self.wrong(institution, index, f"records/{institution}.jsonl: line {index + 1} is not the entry of the log")
            count += 1
        if count != len(leaves) // 32:
            self.wrong(institution, count, f"records/{institution}.jsonl ends after {count} of {len(leaves) // 32} entries")
        self.counts["records as JSON lines"] += count

    # -- one record

    def take(self, name: Name, record: dict) -> None:
        kind, body = record["body"]
        self.named += ((name[0], name[1], other) for other in names_in(BODY, record["body"]))
        self.acts += ((name[0], name[1], record["at"], who, tally) for who, tally in tallies(name[0], kind, body))
        role, at = record["role"][0], record["at"]
        if kind == "Chain":
            self.take_chain(name, role, at, record["operator"], body)
        elif kind == "Note":
            self.take_note(name, role, at, body)
        elif kind == "Programme":
            if what := self.programme_event(name, role, at, *body["event"]):
                self.wrong(name[0], name[1], f"programme: {what}")
        elif kind == "Statistics":
            self.statistics.append((name, body["figures"]))
        elif kind == "Finding" and body["finding"]["kind"][0] in ("OutlierHospital", "AssistedShare"):
            self.patterns.append((name, at, body["finding"]))
        elif kind == "Approved":
            what, operator = name_of(body["record"]), record["operator"]
            if what[:2] != (name[0], name[1] - 1) or not self.stands(what):
                self.wrong(name[0], name[1], "Approved: it is not about the record before it")
            elif operator in (None, body["approver"]):
                self.wrong(name[0], name[1], "Approved: a second person is missing")
        elif kind == "Registrar":
            what = "in the log of another than the registrar"
            if name[0] == self.registrar:
                what = self.registrar_event(name, at, *body["event"])
            if what:
                self.wrong(name[0], name[1], f"{body['event'][0]}: {what}")

    def take_chain(self, name: Name, role: str, at: int, operator: bytes | None, body: dict) -> None:
        voucher = body["voucher"]["issuer"], body["voucher"]["uuid"]
        prev, (kind, step) = body["prev"] and name_of(body["prev"]), body["step"]
        small = len(step.get("token", "").encode()) <= MAX_TOKEN_TEXT and len(step.get("presentation", {}).get("cose", b"")) <= MAX_COSE
        if not small or len(step_names(step)) + 2 > MAX_NAMES:
            return self.wrong(name[0], name[1], f"{kind}: more names, or a longer token or presentation, than a step may have")
        if sum(link.name[0] == name[0] for link in self.chains[voucher]) >= MAX_LINKS:
            return self.wrong(name[0], name[1], f"{kind}: its author has written {MAX_LINKS} records of this voucher already")
        link = Link(name, role, at, operator, prev, name_of(body["registrar"]), body["step"])
        self.chains[voucher].append(link)
        self.read_presentation(link)

    def take_note(self, name: Name, role: str, at: int, body: dict) -> None:
        kind, note = body["note"]
        voucher, about, registrar, step = (body["voucher"]["issuer"], body["voucher"]["uuid"]), name_of(body["about"]), name, (kind, {})
        if "witnessed" in note:
            registrar, step = name_of(note["witnessed"]["registrar"]), ("Cancel", {"presentation": note["witnessed"]["presentation"]})
        link = Link(name, role, at, None, about, registrar, step)
        self.notes.append((voucher, kind, link))
        self.read_presentation(link)

    def read_presentation(self, link: Link) -> None:
        """Takes it apart, and remembers which record of the log was the first with its kid and cti."""
        presentation = link.step[1].get("presentation")
        if presentation is not None:
            try:
                link.token = parse_vp1(presentation["cose"])
                self.ctis.setdefault((link.name[0], link.token.kid, link.token.claims[7]), link.name[1])
            except Bad as bad:
                link.token = str(bad)

    def programme_event(self, name: Name, role: str, at: int, kind: str, event: dict) -> str | None:
        policy = event["policy"]
        if role != "Issuer":
            return "not in the role of an issuer"
        if what := bad_policy(policy):
            return what
        short = name[0], policy["name"]
        if kind == "Published":
            if short in self.short_names:
                return f"there is a programme {policy['name']} already"
            self.short_names[short] = name
            self.policies[name] = [(name[1], at, policy)]
            return None
        programme = name_of(event["programme"])
        if programme not in self.policies or self.short_names.get(short) != programme:
            return "it changes a programme that is not there"
        self.policies[programme].append((name[1], at, policy))
        return None

    # -- what the registrar says; each answers why it does not count

    def registrar_event(self, name: Name, at: int, kind: str, event: dict) -> str | None:
        position = name[1]
        if kind == "MemberRegistered":
            return self.register(position, at, event["entry"])
        if kind == "ParametersPublished":
            self.parameters.append((position, event))
        elif kind == "Enrolled":
            home = event["community"], event["voucher_module"]
            self.enrolments[name] = Enrolment(event["id"], name_of(event["programme"]), [(position, at, "home", home), (position, at, "key", event["key"])])
        elif "enrolment" in event:
            return self.change_enrolment(position, at, kind, event)
        else:
            return self.change_member(position, at, kind, event)
        return None

    def register(self, position: int, at: int, entry: dict) -> str | None:
        who, origin, roles = entry["institution"], entry["origin"], [role[0] for role in entry["roles"]]
        if who in self.members:
            return f"{who} is a member already"
        order = [part[0] for part in ROLE[1:]]
        if not roles or roles != sorted(set(roles), key=order.index) or not 1 <= len(entry["url"].encode()) <= 200:
            return "its roles or its URL cannot be"
        if len(origin.encode()) > 255 or not origin.endswith(f"/{who}"):
            return "its log has a name that cannot be"
        new = [entry[purpose] for purpose in ("log", "node", "witness")]
        used = {key for member in self.members.values() for keys in member.keys.values() for _, key in keys}
        if len(set(new)) < 3 or used.intersection(new):
            return "a key is registered already"
        for purpose in ("log", "node", "witness"):
            if not fit_key(entry[purpose]):
                return f"the {purpose} key is unfit"
            if not ed25519_ok(entry[purpose], entry[f"proof_{purpose}"], possession(who, purpose, origin)):
                return f"the proof of possession of the {purpose} key fails"
        keys = {purpose.capitalize(): [(0, entry[purpose])] for purpose in ("log", "node", "witness")}
        self.members[who] = Member(origin, roles, keys, [Change(position, at, 0, "MemberRegistered", roles)])
        return None

    def change_enrolment(self, position: int, at: int, kind: str, event: dict) -> str | None:
        enrolment = self.enrolments.get(name_of(event["enrolment"]))
        if enrolment is None:
            return "there is no such enrolment"
        if kind == "EnrolmentBlocked":
            what, value = "blocked", event["reason"][0]
        elif kind == "EnrolmentKeyChanged":
            what, value = "key", event["key"]
        elif kind == "EnrolmentMoved":
            what, value = "home", (event["community"], event["voucher_module"])
        else:
            what, value = "card", event["key"]
            if not fit_key(value):
                return "the card's key is unfit"
        enrolment.history.append((position, at, what, value))
        return None

    def change_member(self, position: int, at: int, kind: str, event: dict) -> str | None:
        who = event.get("institution", event.get("issuer"))
        member = self.members.get(who)
        if member is None:
            return f"{who} is no member"
        change = Change(position, at, event.get("from", event.get("size")), kind, root=event.get("root"))
        if kind == "MemberChanged":
            member.roles = change.value = [role[0] for role in event["roles"]]
        elif kind == "KeyRotated":
            if what := self.rotate(who, member, event):
                return what
        elif kind in ("LogSucceeded", "IssuerSucceeded"):
            if what := self.no_heir(who, event["successor"]):
                return what
            change.value = event["successor"]
        member.changes.append(change)
        return None

    def rotate(self, who: str, member: Member, event: dict) -> str | None:
        purpose, key = event["purpose"][0], event["key"]
        message = possession(who, purpose.lower(), member.origin)
        if not fit_key(key) or not ed25519_ok(key, event["proof"], message):
            return "the new key is unfit, or its proof of possession fails"
        if event["by_old"] is not None and not ed25519_ok(member.keys[purpose][-1][1], event["by_old"], message + key):
            return "the old key's signature fails"
        now = {keys[-1][1] for other in self.members.values() for keys in other.keys.values()}
        if key in now or any(key == old for keys in member.keys.values() for _, old in keys):
            return "the new key is registered already"
        member.keys[purpose].append((event["from"], key))
        return None

    def no_heir(self, who: str, heir: str) -> str | None:
        """Nobody succeeds or is succeeded twice, and nobody succeeds the registrar."""
        lines = [(id, c.value) for id, member in self.members.items() for c in member.changes if c.what in ("LogSucceeded", "IssuerSucceeded")]
        taken = {heir for _, heir in lines} | {old for old, _ in lines}
        if who in (self.registrar, heir) or heir not in self.members or heir in taken or who in {old for old, _ in lines}:
            return f"{heir} cannot succeed {who}"
        return None

    # -- what records name

    def resolve(self) -> None:
        for log, index, name in self.named:
            found = self.stands(name)
            if found is False:
                self.wrong(log, index, f"it names {name[0]}.{name[1]} by another hash than that record has")
            elif found is None:
                self.counts["names beyond the export"] += 1
            else:
                self.counts["names"] += 1
        for who, member in self.members.items():
            leaves = self.leaves.get(who, b"")
            for change in member.changes:
                if change.root is not None and len(leaves) >= 32 * change.start and root_of(leaves, change.start) != change.root:
                    self.wrong(who, None, f"its log has another root at size {change.start} than the registrar drew the line at")


def possession(who: str, purpose: str, origin: str) -> bytes:
    return f"voucher-node/v1/possession\n{who}\n{purpose}\n{origin}\n".encode()


def bad_policy(policy: dict) -> str | None:
    """Why a policy cannot be; None if it can."""
    titles, classes, departments = [policy[t] for t in ("title_zh", "title_en", "department")], policy["classes"], policy["departments"]
    if any(not title.strip() or len(title.encode()) > 200 for title in titles):
        return "titles and issuing department have 1 to 200 bytes"
    if not classes or len({c[0] for c in classes}) != len(classes) or not 1 <= policy["validity_days"] <= 1096 or not policy["vouchers_per_holder"]:
        return "classes, validity or vouchers per holder cannot be"
    if not 1 <= len(departments) <= 20 or len(set(departments)) != len(departments):
        return "1 to 20 departments, each once"
    return None


class Waits(Exception):
    """It depends on a record that the logs do not have so far."""


class View:
    """What the logs say up to given sizes: all that a judgement may know."""

    def __init__(self, book: Ledger, sizes: dict[str, int]) -> None:
        self.book, self.sizes = book, sizes
        self.last = sizes.get(book.registrar, 0) - 1
        self.successions = any(c.value for m in book.members.values() for c in m.changes if c.what.endswith("Succeeded") and c.position <= self.last)

    def time_of(self, own: Name, name: Name) -> int:
        """When a record that `own` names was written."""
        if name[0] == own[0] and name[1] >= own[1]:
            raise Bad("it names itself, or a later record of its log")
        if name[1] >= self.sizes.get(name[0], 0):
            raise Waits
        at = self.book.times[name[0]][name[1]]
        if at < 0 or not self.book.stands(name):
            raise Bad(f"{name[0]}.{name[1]} is not the record that it names")
        return at

    def author_counts(self, link: Link, horizon: int) -> bool:
        """Whether its author plays its role in good standing at its index, by what the horizon knows."""
        member = self.book.members.get(link.name[0])
        last = min(horizon, self.last)
        return member is not None and member.standing(link.role, lambda c: c.position <= last and c.start <= link.name[1]) == "good"

    def good(self, who: str, role: str, position: int) -> bool:
        """Whether somebody plays a role in good standing at a registrar position."""
        member = self.book.members.get(who)
        return member is not None and member.standing(role, lambda c: c.position <= min(position, self.last)) == "good"

    def stale(self, link: Link, horizon: int) -> bool:
        """A change of the author that the named position does not know and that acts by now."""
        member, last = self.book.members.get(link.name[0]), min(horizon, self.last)
        quiet = ("MemberRegistered", "MemberRestored")
        return member is not None and any(link.registrar[1] < c.position <= last and c.what not in quiet and later(c.at, FRESH) <= link.at for c in member.changes)

    def ended(self, who: str, horizon: int) -> int | None:
        member = self.book.members.get(who)
        return member.end(min(horizon, self.last)) if member else None

    def frozen(self, who: str, horizon: int) -> bool:
        member = self.book.members.get(who)
        return member is not None and any(c.what == "LogFrozen" and c.position <= min(horizon, self.last) for c in member.changes)

    def line(self, who: str, role: str, position: int) -> list[tuple[str, int, str]]:
        """How what somebody held in a role passed on up to a position: from whom, at which size, to whom."""
        passed = []
        while len(passed) < len(self.book.members):
            changes = self.book.members[who].changes if who in self.book.members else []
            fits = lambda c: c.what == "LogSucceeded" or (c.what == "IssuerSucceeded" and role == "Issuer")
            change = next((c for c in changes if c.position <= min(position, self.last) and fits(c)), None)
            if change is None:
                break
            passed.append((who, change.start, change.value))
            who = change.value
        return passed

    def heir(self, who: str | None, role: str, position: int) -> str | None:
        line = self.line(who, role, position) if who and self.successions else []
        return line[-1][2] if line else who

    def numbers(self, position: int) -> dict:
        return next((p for where, p in reversed(self.book.parameters) if where <= position), DEFAULTS)

    def enrolment(self, name: Name) -> Enrolment | None:
        return self.book.enrolments.get(name) if name[1] <= self.last else None

    def policy(self, programme: Name, at: int) -> dict | None:
        """The policy in force at a time: the first acts at once, a change ten minutes after it was written."""
        history = [row for row in self.book.policies.get(programme, []) if row[0] < self.sizes.get(programme[0], 0)]
        changed = next((policy for _, since, policy in reversed(history[1:]) if later(since, FRESH) <= at), None)
        return changed or (history[0][2] if history else None)

    # -- presentations

    def presented(self, link: Link, voucher: tuple[str, bytes], enrolment: Enrolment, policy: dict | None) -> str | None:
        """What is wrong with a presentation; None if nothing is. A note has no policy: it moves nothing."""
        if isinstance(link.token, str):
            return link.token
        token, kind = link.token, link.step[0]
        claim, claims = STEP_CLAIM[kind], link.token.claims
        if claim not in claims:
            return "it says another step"
        if claims[3] != link.name[0]:
            return f"it is for {claims[3]!r}"
        if claims[claim] != (policy and policy["name"] if claim == -3 else claims_voucher(voucher)):
            return "it is about another voucher or programme"
        if token.kid != enrolment.id[:8]:
            return "it names another holder"
        if abs(claims[6] * 1000 - link.at) > 300_000:
            return "it is more than five minutes off its record"
        if self.book.ctis[link.name[0], token.kid, claims[7]] != link.name[1]:
            return "it was presented before"
        now = enrolment.at(link.registrar[1])
        key = now["key"]
        if link.step[1]["presentation"]["assisted"]:
            if policy is not None and not policy["card_allowed"]:
                return "the programme allows no card"
            key = now["card"] and ("Ed25519", {"key": now["card"]})
        if key is None or not self.verifies(link, key):
            return "it does not verify under the holder's key in force"
        return None

    def verifies(self, link: Link, key: tuple[str, dict]) -> bool:
        known = self.book.verified
        place = link.name, write(HOLDER_KEY, key)
        if place not in known:
            known[place] = link.token.verifies(key)
            self.book.counts["presentations"] += known[place]
        return known[place]


def vq1(book: Ledger, link: Link, voucher: tuple[str, bytes]) -> str | None:
    """What is wrong with a voucher QR; None if nothing is. No step depends on it, but people do."""
    text = link.step[1]["token"]
    try:
        if not text.startswith("VQ1:"):
            return "no VQ1"
        token = parse_token(unbase45(text[4:]), 204)
    except Bad as bad:
        return str(bad)
    claims = token.claims
    if set(claims) != {1, 4, 5, 6, -8, -9} or claims[1] != link.name[0] or claims[-8] != claims_voucher(voucher):
        return "it is of another community or voucher"
    member = book.members.get(link.name[0])
    for _, key in member.keys["Node"] if member else []:
        if token.kid == sha256(key)[:8] and token.verifies(("Ed25519", {"key": key})):
            book.counts["VQ1"] += 1
            return None
    return "it does not verify under the community's node key"


# ---- vouchers: the table of steps (docs/protocol.md, section 2) --------------------------------------------------------

BEFORE_USE = ("generated", "sent", "encoded", "issued", "booking requested", "booked")
HOLDER_ROLE = {"sent": "Community", "encoded": "Community", "issued": "Voucher", "generated": "Issuer", "claimed": "Issuer", "refused": "Issuer",
               "booking requested": "Hospital", "booked": "Hospital", "in use": "Hospital", "examined": "Hospital", "rejected": "Hospital",
               "redeemed": "Issuer", "voided": "Issuer"}
FROM = {"Sent": ("generated",), "Encoded": ("sent",), "Issued": ("encoded",), "HandedOver": ("issued",), "Booked": ("issued",),
        "BookingConfirmed": ("booking requested",), "BookingDeclined": ("booking requested",), "BookingReleased": ("booked",),
        "BookingLapsed": ("booking requested", "booked"), "UseConfirmed": ("booked",), "UseAborted": ("in use",), "ExamCompleted": ("in use",),
        "RedemptionClaimed": ("examined", "rejected"), "Redeemed": ("claimed",), "ClaimRejected": ("claimed",),
        "Returned": ("sent", "encoded", "issued", "booking requested", "booked"), "Reversed": ("redeemed",)}
SETTLES = ("Redeemed", "Voided", "Reclaimed", "Resolved")
BY_ISSUER = (*SETTLES, "ClaimRejected", "Reversed")
MAX_CLAIMS = 3


@dataclass(frozen=True)
class State:
    stage: str
    custodian: str | None
    issuer: str
    programme: Name
    valid_from: int
    valid_until: int
    community: str | None = None
    enrolment: Name | None = None
    module: str | None = None
    hospital: str | None = None
    booking: tuple[int, int, int] = (0, 0, 0)  # respond_by, use_from, use_by; while there is a hospital
    complete_by: int | None = None
    claim_by: int | None = None
    claims: int = 0
    redeemed_at: int | None = None

    def to_issuer(self, stage: str) -> "State":
        return replace(self, stage=stage, custodian=self.issuer, hospital=None, booking=(0, 0, 0), complete_by=None, claim_by=None,
                       redeemed_at=None, claims=0 if stage == "generated" else self.claims)

    def to_module(self, at: int) -> "State":
        if at >= self.valid_until:
            return self.to_issuer("generated")
        return replace(self.to_issuer("generated"), stage="issued", custodian=self.module)

    def limit(self) -> int | None:
        """When the custodian's right to the next step ends."""
        if self.stage in ("booking requested", "booked"):
            return self.booking[0 if self.stage == "booking requested" else 2]
        if self.stage in BEFORE_USE:
            return self.valid_until
        return self.complete_by if self.stage == "in use" else self.claim_by if self.stage in ("examined", "rejected") else None


@dataclass
class Scene:
    """What a row of the table asks beside the state before and the step."""

    numbers: dict
    module: str | None = None  # of the enrolment, for Issued and HandedOver
    others_gone: bool = False  # who should act is not in good standing


def need(good: Any, what: str) -> None:
    if not good:
        raise Bad(what)


def table_row(s: State, link: Link, scene: Scene) -> State:
    """The state after a step, by what the step and the state before say alone."""
    kind, step = link.step
    author, at = link.name[0], link.at
    issuer = author == s.issuer and link.role == "Issuer"
    custodian = author == s.custodian and link.role == HOLDER_ROLE[s.stage]
    need(kind != "Generated", "a second Generated")
    need(issuer or s.stage not in BEFORE_USE or at < s.valid_until, "the validity is over")
    need(s.stage in FROM.get(kind, (s.stage,)), f"{kind} does not follow {s.stage}")
    if kind in BY_ISSUER:
        need(issuer, f"{kind} is for the issuer, and {author} is not")
        return issuer_row(s, link, scene)
    if kind == "BookingLapsed":
        need(author == s.module and link.role == "Voucher", "BookingLapsed is for the voucher module")
        return s.to_module(at)
    need(custodian or (kind == "HandedOver" and issuer and scene.others_gone), f"{author} is not the custodian: {s.custodian} is")
    if kind in ("Sent", "Encoded", "Issued", "HandedOver", "Returned"):
        return handing_row(s, kind, step, at, scene)
    if kind.startswith("Booking") or kind == "Booked":
        return booking_row(s, kind, step, at)
    return use_row(s, kind, step, at, scene)


def handing_row(s: State, kind: str, step: dict, at: int, scene: Scene) -> State:
    if kind == "Sent":
        return replace(s, stage="sent", custodian=step["community"], community=step["community"], enrolment=None, module=None)
    if kind == "Encoded":
        return replace(s, stage="encoded")
    if kind == "Returned":
        need(s.stage not in ("booking requested", "booked") or at < s.limit(), "Returned after its time")
        return s.to_issuer("generated")
    return replace(s, stage="issued", enrolment=name_of(step["enrolment"]), module=scene.module, custodian=scene.module)


def booking_row(s: State, kind: str, step: dict, at: int) -> State:
    if kind == "Booked":
        respond, start, end = step["respond_by"], step["use_from"], step["use_by"]
        need(s.valid_from <= at and s.valid_from <= end < s.valid_until, "Booked outside of the validity")
        need(at < respond <= end and start < end, "its window is bad")
        return replace(s, stage="booking requested", custodian=step["hospital"], hospital=step["hospital"], booking=(respond, start, end))
    need(at < s.limit(), f"{kind} after its time")
    return replace(s, stage="booked") if kind == "BookingConfirmed" else s.to_module(at)


def use_row(s: State, kind: str, step: dict, at: int, scene: Scene) -> State:
    if kind == "UseConfirmed":
        need(s.booking[1] <= at < s.booking[2], "UseConfirmed outside of its window")
        need(at < step["complete_by"] <= later(at, scene.numbers["complete_within"]), "complete_by is out of bounds")
        return replace(s, stage="in use", complete_by=step["complete_by"])
    if kind == "UseAborted":
        again = step["reason"][0] == "DeskError" and at < s.booking[2]
        return replace(s, stage="booked", complete_by=None) if again else s.to_module(at)
    if kind == "ExamCompleted":
        need(at < s.complete_by, "ExamCompleted after complete_by")
        need(at < step["claim_by"] <= later(at, scene.numbers["claim_within"]), "claim_by is out of bounds")
        return replace(s, stage="examined", complete_by=None, claim_by=step["claim_by"])
    need((step["answers"] is not None) == (s.stage == "rejected"), "it answers no rejection, or should")
    need(s.claims < MAX_CLAIMS, "a fourth claim")
    need(s.claim_by is not None and at < s.claim_by, "RedemptionClaimed after claim_by")
    return replace(s, stage="claimed", custodian=s.issuer, claims=s.claims + 1)


def issuer_row(s: State, link: Link, scene: Scene) -> State:
    kind, step = link.step
    at = link.at
    if kind in ("Reversed", "Resolved"):
        need(link.operator not in (None, step["approver"]), "a second person is missing")
    if kind == "Redeemed":
        return replace(s, stage="redeemed", custodian=None, redeemed_at=at)
    if kind == "ClaimRejected":
        final = step["is_final"] or s.claims >= MAX_CLAIMS
        return s.to_issuer("refused") if final else replace(s, stage="rejected", custodian=s.hospital)
    if kind == "Voided":
        expired = step["cause"][0] == "Expired"
        need(s.stage in (BEFORE_USE if expired else ("generated", "refused")), f"Voided does not follow {s.stage} so")
        need(not expired or at >= s.valid_until, "Voided as expired before it is")
        return replace(s, stage="voided", custodian=None)
    if kind == "Reclaimed":
        need(s.stage not in ("redeemed", "voided") and s.custodian != s.issuer, f"there is nothing to take back from {s.stage}")
        grace = scene.numbers["grace_before_use" if s.stage in BEFORE_USE else "grace_after_use"]
        need(scene.others_gone or (s.limit() is not None and at >= later(s.limit(), grace)), "Reclaimed before the grace is over")
        return s.to_issuer("refused")
    if kind == "Reversed":
        need(at < later(s.redeemed_at, scene.numbers["correction_period"]), "Reversed after the correction period")
        return s.to_issuer("generated") if step["void"] else s.to_module(at)
    need(s.stage != "redeemed", "it is redeemed")
    return replace(s, stage="voided", custodian=None) if step["outcome"][0] == "Void" else s


# ---- vouchers: what counts (docs/protocol.md, section 2, Counting and Two successors) ----------------------------------


def step_names(step: dict) -> list[Name]:
    """The records that a step names, the one before it and the registrar position not among them."""
    named = [step.get(one) for one in ("programme", "enrolment", "position", "answers")]
    inner = next((step[one][1] for one in ("cause", "outcome") if one in step), {})
    named += [inner.get("record"), *step.get("positions", []), *inner.get("positions", [])]
    return [name_of(name) for name in named if name is not None]


class Fold:
    """One voucher's records, a tree by `prev`. Rules are a horizon (how much of the registrar's log is known) and whether lines are overlooked."""

    def __init__(self, view: View, voucher: tuple[str, bytes], links: list[Link]) -> None:
        self.view, self.voucher, self.links = view, voucher, links
        self.place = {link.name: i for i, link in enumerate(links)}
        self.parent = [self.place.get(link.prev) if link.prev else None for link in links]
        self.children: dict[Name | None, list[int]] = defaultdict(list)
        for i, link in enumerate(links):
            self.children[link.prev].append(i)
        line = view.line(voucher[0], "Issuer", EVER) if view.successions else []
        self.issuers = [voucher[0], *(heir for _, _, heir in line)]
        self.times = [self.names(link) for link in links]
        self.known: dict[tuple, State | Exception] = {}
        self.rivals: dict[tuple, tuple[State, Exception | None]] = {}
        self.resolutions: dict[int, tuple | Exception] = {}

    def names(self, link: Link) -> list[int] | Exception:
        """The times of the records that a step names; or that one is wrong, or not here."""
        first, waits, times = [link.prev] if link.prev else [], False, []
        for name in [*first, link.registrar, *step_names(link.step[1])]:
            try:
                times.append(self.view.time_of(link.name, name))
            except Waits:
                waits = True
            except Bad as bad:
                return bad
        return Waits() if waits else times[len(first) + 1 :]

    def issued_at(self, i: int) -> tuple[int, int] | None:
        """The place among the records of the issuer, and of who succeeded it."""
        who, index, _ = self.links[i].name
        return (self.issuers.index(who), index) if who in self.issuers else None

    def ancestors(self, i: int | None) -> Iterator[int]:
        while i is not None:
            yield i
            i = self.parent[i]

    # -- one record

    def after(self, i: int, rules: tuple) -> State:
        """The state after a record on its own path."""
        todo = []
        for one in self.ancestors(i):
            if (one, rules) in self.known:
                break
            todo.append(one)
        for one in reversed(todo):
            before = self.known.get((self.parent[one], rules))
            try:
                if isinstance(before, Exception):
                    raise Bad("the record before it does not count") if isinstance(before, Bad) else before
                state = self.next(one, before, rules)
            except (Bad, Waits) as why:
                state = why
            self.known[one, rules] = state
        if isinstance(self.known[i, rules], Exception):
            raise self.known[i, rules]
        return self.known[i, rules]

    def next(self, i: int, left: State | None, rules: tuple) -> State:
        """Judges a record by the state before it, once what was held has passed to the heirs."""
        before = left
        if left is not None and self.view.successions:
            position = self.links[i].registrar[1]
            parts = {"custodian": HOLDER_ROLE[left.stage], "issuer": "Issuer", "community": "Community", "module": "Voucher", "hospital": "Hospital"}
            heirs = {part: self.view.heir(getattr(left, part), role, position) for part, role in parts.items()}
            before = replace(left, **heirs)
            for part, role in parts.items() if before != left else ():
                for who, size, _ in self.view.line(getattr(left, part), role, position):
                    if self.view.sizes.get(who, 0) < size:
                        raise Waits
        after = self.judge(i, before, left, rules)
        if after.custodian not in (None, after.issuer) and not self.view.good(after.custodian, HOLDER_ROLE[after.stage], self.links[i].registrar[1]):
            if self.links[i].step[0] != "Resolved":
                return after.to_issuer("refused" if after.stage == "rejected" else "generated")
        return after

    def judge(self, i: int, before: State | None, left: State | None, rules: tuple) -> State:
        link, view = self.links[i], self.view
        kind, step = link.step
        self.may_write(i, rules)
        scene = Scene(view.numbers(link.registrar[1]))
        if before is None:
            return self.begin(link)
        enrolment = self.enrolment(before, link, rules) if kind in ("Issued", "HandedOver", "Booked", "UseConfirmed", "ExamCompleted") else None
        gone = lambda who, role: who is not None and not view.good(who, role, link.registrar[1])
        if kind in ("Issued", "HandedOver"):
            community, module = enrolment.at(link.registrar[1])["home"]
            need(kind == "HandedOver" or view.heir(community, "Community", link.registrar[1]) == link.name[0], "the enrolment is of another community")
            scene.module = view.heir(module, "Voucher", link.registrar[1])
        if kind == "HandedOver":
            scene.others_gone = gone(before.module, "Voucher") and not self.rival_counts(i, left, rules, lambda other: other.name[0] == before.module)
        if kind == "Reclaimed":
            booked = before.stage in ("booking requested", "booked") and gone(before.module, "Voucher")
            scene.others_gone = booked or gone(before.custodian, HOLDER_ROLE[before.stage])
        if kind == "RedemptionClaimed" and step["answers"] is not None:
            need(name_of(step["answers"]) == link.prev, "it answers another rejection")
        after = table_row(before, link, scene)
        if "presentation" in step:
            policy = view.policy(before.programme, link.at)
            what = view.presented(link, self.voucher, enrolment, policy)
            need(what is None, f"presentation: {what}")
        elif kind == "BookingLapsed":
            self.surely_over(i, left, [before.hospital], before.limit(), rules)
        elif kind == "Voided" and step["cause"][0] == "Expired":
            module = [before.module] if before.stage in ("booking requested", "booked") else []
            silent = [] if before.stage == "generated" else [before.custodian, *module]
            self.surely_over(i, left, silent, before.valid_until, rules)
        elif kind == "Resolved":
            return self.resolved(i, before, after)
        return after

    def may_write(self, i: int, rules: tuple) -> None:
        """What is asked of every record, whatever its step."""
        link, view, (horizon, amnesty) = self.links[i], self.view, rules
        if isinstance(self.times[i], Exception):
            raise self.times[i]
        need(link.registrar[0] == view.book.registrar, "its registrar position is in another log")
        if amnesty:
            return
        need(view.author_counts(link, horizon), f"{link.name[0]} does not play the role {link.role} in good standing there")
        for who, index, _ in [link.prev or link.registrar, link.registrar, *step_names(link.step[1])]:
            end = view.ended(who, horizon)
            need(end is None or index < end, f"it names a record behind the line drawn in the log of {who}")
        need(not view.stale(link, horizon), "it names a registrar position that is too old: its author was changed since")

    def begin(self, link: Link) -> State:
        kind, step = link.step
        need(link.prev is None, "the record before it is not of this voucher")
        need(kind == "Generated" and link.role == "Issuer" and link.name[0] == self.voucher[0], "a voucher begins with Generated by its issuer")
        programme = name_of(step["programme"])
        need(programme[0] == link.name[0] and self.view.policy(programme, MAX_TIME) is not None, "there is no such programme of its issuer")
        need(step["valid_from"] < step["valid_until"] and link.at < step["valid_until"], "it is never valid")
        return State("generated", link.name[0], link.name[0], programme, step["valid_from"], step["valid_until"])

    def enrolment(self, before: State, link: Link, rules: tuple) -> Enrolment:
        step, position = link.step[1], link.registrar[1]
        name = name_of(step["enrolment"]) if "enrolment" in step else before.enrolment
        enrolment = self.view.enrolment(name) if name else None
        need(enrolment and enrolment.at(position)["home"], "the enrolment is unknown")
        need(enrolment.programme == before.programme, "the enrolment is of another programme")
        need(not enrolment.at(position)["blocked"], "the enrolment is blocked")
        need(not enrolment.stale(position, link.at, min(rules[0], self.view.last)), "it names a registrar position that is too old: the enrolment was changed since")
        return enrolment

    # -- siblings

    def surely_over(self, i: int, left: State, needed: list[str], limit: int, rules: tuple) -> None:
        """Positions prove that a limit has passed in the logs needed, and nothing that counts stands before them."""
        link = self.links[i]
        positions = list(zip(step_names(link.step[1]), self.times[i]))
        for log in dict.fromkeys(needed):
            found = next((name for name, at in positions if name[0] == log and at >= limit), None)
            need(found, f"no position shows that the time is over in the log of {log}")

            def before(other: Link) -> bool:
                who, index, _ = other.name
                return (who == log and index < found[1]) or (who != log and self.view.heir(who, other.role, link.registrar[1]) == log)

            need(not self.rival_counts(i, left, rules, before), f"{log} has gone on with it in time")

    def rival_counts(self, i: int, left: State, rules: tuple, matters: Any) -> bool:
        """Whether a sibling that matters counts by itself; waits while one waits."""
        waits = False
        rivals = [one for one in self.children[self.links[i].prev] if one != i and matters(self.links[one])]
        for one in sorted(rivals, key=lambda one: self.links[one].name[:2]):
            if (one, rules) not in self.rivals or self.rivals[one, rules][0] != left:
                try:
                    self.next(one, left, rules)
                    verdict = None
                except (Bad, Waits) as why:
                    verdict = why
                self.rivals[one, rules] = left, verdict
            verdict = self.rivals[one, rules][1]
            if verdict is None:
                return True
            waits = waits or isinstance(verdict, Waits)
        if waits:
            raise Waits
        return False

    # -- Resolved

    def resolved(self, i: int, before: State, row: State) -> State:
        """Counts where there is something to resolve. Those before it are looked at first, so that none recurses deeper."""
        last = self.issued_at(i)
        places = [(self.issued_at(n), n) for n, link in enumerate(self.links) if link.step[0] == "Resolved" and n not in self.resolutions]
        for _, one in sorted(p for p in places if p[0] is not None and p[0] <= last and not isinstance(self.times[p[1]], Exception)):
            try:
                self.resolutions[one] = self.resolve(one)
            except (Bad, Waits) as why:
                self.resolutions[one] = why
        found = self.resolutions.get(i, Waits())
        if isinstance(found, Exception):
            raise found
        cut_off, branches, kept = found
        if not (branches and before.stage == "voided"):
            if isinstance(cut_off, Exception):
                raise cut_off
            need(cut_off, "there is nothing to resolve")
        return kept or row

    def resolve(self, i: int) -> tuple:
        """Whether a line cuts something off, whether there are branches, and the state of the branch that is kept."""
        rules = self.links[i].registrar[1], True
        try:
            cut_off: bool | Exception = self.cut_off(i, rules)
        except Waits as waits:
            cut_off = waits
        others = [[n for n in group if n != i] for prev, group in self.children.items() if prev is not None]
        branches = any(len(group) > 1 for group in others)
        outcome, inner = self.links[i].step[1]["outcome"]
        kept = None
        if outcome == "Keep" and (branches or cut_off):
            head = self.place.get(name_of(inner["record"]))
            need(head is not None and not self.depends_on(head, i), "what it keeps is not a record of this voucher before it")
            kept = self.after(head, rules)
        return cut_off, branches, kept

    def cut_off(self, i: int, rules: tuple) -> bool:
        waits = False
        for n, link in enumerate(self.links):
            if (self.view.author_counts(link, rules[0]) and not self.view.frozen(link.name[0], rules[0])) or self.depends_on(n, i):
                continue
            try:
                self.after(n, rules)
                return True
            except Waits:
                waits = True
            except Bad:
                pass
        if waits:
            raise Waits
        return False

    def depends_on(self, n: int, i: int) -> bool:
        """Whether a record stands on a `Resolved` or a later one, or names what its author wrote from there on."""
        first, (author, index, _) = self.issued_at(i), self.links[i].name
        for one in self.ancestors(n):
            link = self.links[one]
            if link.step[0] == "Resolved" and self.issued_at(one) is not None and self.issued_at(one) >= first:
                return True
            names = [*([link.prev] if link.prev else []), link.registrar, *step_names(link.step[1])]
            if any(who == author and at >= index for who, at, _ in names):
                return True
        return False

    # -- the path

    def sealed(self) -> tuple[list[tuple[int, State]], list[int]]:
        """The path that the issuer's settlements seal, in the order of its log, each part judged by what the settlement at its end knew."""
        path: list[tuple[int, State]] = []
        order = sorted((self.issued_at(i), i) for i, link in enumerate(self.links) if link.step[0] in SETTLES and self.issued_at(i) is not None)
        settlements = [i for _, i in order]
        for n, i in enumerate(settlements):
            link, tip = self.links[i], path[-1][0] if path else None
            part = []
            for one in self.ancestors(i):
                if one == tip:
                    break
                part.insert(0, one)
            first = part[0]
            if tip is not None and self.parent[first] is None and isinstance(self.times[first], Waits):
                return path, settlements[n:]
            if tip is not None and self.parent[first] != tip:
                continue
            if not self.view.author_counts(link, EVER) or self.view.stale(link, EVER):
                continue
            state, states = path[-1][1] if path else None, []
            try:
                for one in part:
                    state = self.next(one, state, (link.registrar[1], False))
                    states.append((one, state))
            except Waits:
                return path, settlements[n:]
            except Bad:
                continue
            path += states
        return path, []

    def successor(self, at: Name | None, before: State | None) -> tuple[tuple[int, State] | None, list[int]]:
        """The one successor that counts where nothing is settled; else those that an earlier record of their log holds back."""
        waiting, held_back = [], []
        for i in sorted(self.children[at], key=lambda i: (self.links[i].step[0] != "BookingLapsed", *self.links[i].name[:2])):
            who, index, _ = self.links[i].name
            if any(other[0] == who and other[1] < index for other in waiting):
                held_back.append(i)
                continue
            try:
                after = self.next(i, before, (EVER, False))
                if self.links[i].step[0] not in SETTLES:
                    return (i, after), []
            except Waits:
                waiting.append(self.links[i].name)
            except Bad:
                pass
        return None, held_back

    def path(self) -> tuple[list[tuple[Link, State]], list[int]]:
        path, held_back = self.sealed()
        while True:
            found, held = self.successor(self.links[path[-1][0]].name if path else None, path[-1][1] if path else None)
            if found is None:
                break
            path.append(found)
        return [(self.links[i], state) for i, state in path], held_back + held

    def report(self, path: list[tuple[Link, State]], held_back: list[int]) -> None:
        """Tells of what stands beside the path."""
        book, on = self.view.book, {link.name for link, _ in path}
        for i, link in enumerate(self.links):
            if link.name in on:
                continue
            try:
                self.after(i, (EVER, False))
                if any(one in held_back for one in self.ancestors(i)):
                    raise Waits
            except Waits:
                book.counts["records that wait for others"] += 1
                continue
            except Bad as bad:
                book.wrong(link.name[0], link.name[1], f"{link.step[0]} does not count: {bad}")
                continue
            if any(one != i and self.links[one].name[0] == link.name[0] for one in self.children[link.prev]):
                book.wrong(link.name[0], link.name[1], f"{link.step[0]}: a second successor of one record in one log")
            book.counts["superseded records"] += 1


def note_presented(view: View, voucher: tuple[str, bytes], links: dict[Name, Link], note: Link) -> str | None:
    """What is wrong with the presentation of a note; None if nothing is, or if it waits."""
    try:
        need(note.registrar[0] == view.book.registrar, "its registrar position is in another log")
        view.time_of((view.book.registrar, EVER, b""), note.registrar)
        at, enrolment = note.prev, None
        for _ in links:
            if at is None or at not in links:
                break
            kind, step = links[at].step
            if kind in ("Issued", "HandedOver"):
                enrolment = view.enrolment(name_of(step["enrolment"]))
                break
            keeps = kind == "Resolved" and step["outcome"][0] == "Keep"
            at = name_of(step["outcome"][1]["record"]) if keeps else None if kind in ("Returned", "Reclaimed") else links[at].prev
        if at is not None and at not in links:
            raise Waits
        need(enrolment and enrolment.at(note.registrar[1])["home"], "nobody has the voucher there")
        need(not enrolment.at(note.registrar[1])["blocked"], "the enrolment is blocked")
    except Waits:
        view.book.counts["notes that wait for others"] += 1
        return None
    except Bad as bad:
        return str(bad)
    return view.presented(note, voucher, enrolment, None)


# ---- statistics ------------------------------------------------------------------------------------------------------

MEASURES = {"Booked": "BookingRequested", "BookingConfirmed": "Booked", "UseConfirmed": "Used", "ExamCompleted": "Examined", "RedemptionClaimed": "Claimed", "ClaimRejected": "Rejected"}
MEASURE_ORDER = {part[0]: n for n, part in enumerate(MEASURE[1:])}


def events(path: list[tuple[Link, State]], offset: int) -> Iterator[tuple]:
    """(day, programme, community, hospital, measure) of each step that is counted."""
    before: State | None = None
    for link, after in path:
        kind = link.step[0]
        measure = MEASURES.get(kind, kind)
        hospital = before.hospital if before and before.hospital and not after.hospital else after.hospital
        row = (link.at + offset * 60_000) // DAY, after.programme, after.community or (before and before.community), hospital
        if measure in MEASURE_ORDER:
            yield *row, measure
        if kind == "UseConfirmed" and link.step[1]["presentation"]["assisted"]:
            yield *row, "UsedAssisted"
        before = after


def count_rows(book: Ledger, view: View, first: int, last: int, offset: int) -> Counter[tuple]:
    """The rows of a table for the days from `first` to `last`, by the logs that the view has."""
    rows: Counter[tuple] = Counter()
    for voucher, links in book.chains.items():
        known = [link for link in links if link.name[1] < view.sizes.get(link.name[0], 0)]
        for row in events(Fold(view, voucher, known).path()[0], offset):
            if first <= row[0] <= last:
                rows[row] += 1
    return rows


def recount(book: Ledger, name: Name, figures: dict) -> None:
    say = lambda what: book.wrong(name[0], name[1], f"statistics: {what}")
    sizes = {covered["institution"]: covered["size"] for covered in figures["covers"]}
    if len(sizes) != len(figures["covers"]):
        return say("a log is covered twice")
    for covered in figures["covers"]:
        if covered["size"] > book.sizes.get(covered["institution"], 0):
            book.counts["statistics beyond the export"] += 1
            return
        if root_of(book.leaves[covered["institution"]], covered["size"]) != covered["root"]:
            return say(f"the log of {covered['institution']} has another root at size {covered['size']}")
    first, last = ((t + figures["offset"] * 60_000) // DAY for t in (figures["from"], max(0, figures["until"] - 1)))
    rows = count_rows(book, View(book, sizes), first, last, figures["offset"])
    order = lambda row: (row[0], row[1], row[2] is not None, row[2] or "", row[3] is not None, row[3] or "", MEASURE_ORDER[row[4]])
    table, totals = len(rows).to_bytes(8, "little"), Counter()
    for row in sorted(rows, key=order):
        programme = dict(zip(("institution", "index", "id"), row[1]))
        table += write(ROW, {"day": row[0], "programme": programme, "community": row[2], "hospital": row[3], "measure": (row[4], {}), "count": rows[row]})
        totals[row[4]] += rows[row]
    counted = [(measure, totals[measure]) for measure in MEASURE_ORDER if totals[measure]]
    published = [(item["measure"][0], item["count"]) for item in figures["totals"]]
    if published != counted:
        say(f"sums differ: published {published}, counted {counted}")
    elif figures["rows"] != len(rows):
        say(f"{figures['rows']} rows are published, {len(rows)} counted")
    elif sha256(table) != figures["table"]:
        say("the digest of the table differs, and its sums do not: a day, programme, community or hospital is another")
    book.counts["statistics recounted"] += 1


def account(book: Ledger, paths: list[list[tuple[Link, State]]]) -> dict[Name, dict[str, Counter[str]]]:
    """Stock counted from both ends, by programme: what went in and out of each institution, and where each voucher stands."""
    books: dict[Name, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    for path in paths:
        before: str | None = None
        for link, state in path:
            programme = books[state.programme]
            programme["generated"]["in all"] += link.step[0] == "Generated"
            if before != state.custodian:
                programme["transfers"][before or ""] -= 1
                programme["transfers"][state.custodian or ""] += 1
            before = state.custodian
        head = path[-1][1]
        books[head.programme]["stages"][head.stage] += 1
        books[head.programme]["stock"][head.custodian or ""] += 1
    for programme, counts in books.items():
        generated = counts["generated"]["in all"]
        transfers = {who: n for who, n in counts["transfers"].items() if who and n}
        stock = {who: n for who, n in counts["stock"].items() if who}
        settled = counts["stages"]["redeemed"] + counts["stages"]["voided"]
        if transfers != stock or generated != sum(stock.values()) + settled:
            book.wrong(programme[0], programme[1], f"programme: {generated} generated, {sum(stock.values())} in stock, {settled} settled; by transfers {transfers}")
    return books


# ---- weeks (docs/record-format.md, Weeks) ------------------------------------------------------------------------------

COMPARED = (("no-show", "confirmed"), ("aborted", "used"), ("disputed", "used"), ("rejected", "claimed"), ("redeemed", "confirmed"))
CARDS = (("used-with-card", "used"), ("issued-with-card", "issued"))
LEAST_CASES, LEAST_SHARES, MOST_CASES = 30, 5, 2**32 - 1


def tallies(author: str, kind: str, body: dict) -> list[tuple[str, str]]:
    """What a record adds to its week, whether it counts for a voucher or not; disputes come later."""
    if kind == "Note":
        return [(author, "no-show")] if body["note"][0] == "NoShow" else []
    if kind != "Chain":
        return []
    step, inner = body["step"]
    hospital = body["prev"]["institution"] if body["prev"] else author
    card = inner.get("presentation", {}).get("assisted")
    return {
        "BookingConfirmed": [(author, "confirmed")],
        "UseConfirmed": [(author, "used")] + [(author, "used-with-card")] * bool(card),
        "UseAborted": [(author, "aborted")],
        "RedemptionClaimed": [(author, "claimed")],
        "ClaimRejected": [(hospital, "rejected")],
        "Redeemed": [(hospital, "redeemed")],
        "Issued": [(author, "issued")] + [(author, "issued-with-card")] * bool(card),
    }.get(step, [])


def week_of(at: int, offset: int) -> int:
    """1970-01-01 was a Thursday, three days after a Monday."""
    return ((at + offset * 60_000) // DAY + 3) // 7


def week_begin(week: int, offset: int) -> int:
    return max(0, (7 * week - 3) * DAY - offset * 60_000)


def outliers(shares: list[tuple[str, int, int]]) -> tuple[set[str], dict] | None:
    """Who is far above the others (docs/decisions/0031-fraud-patterns.md), in whole numbers; None where too few can be compared."""
    if len(shares) < LEAST_SHARES:
        return None
    cut = [(who, min(count, MOST_CASES), min(of, MOST_CASES)) for who, count, of in shares]
    values = [count * 1_000_000 // of for _, count, of in cut]
    middle = lambda numbers: sorted(numbers)[(len(numbers) - 1) // 2]
    usual = middle(values)
    distances = [abs(value - usual) for value in values]
    spread, total = middle(distances), sum(distances)
    above = set()
    for (who, count, of), value, distance in zip(cut, values, distances):
        far = 6_745 * distance > 35_000 * spread if spread else distance * len(cut) * 1_000_000 > 4_386_599 * total
        cases, expected = count * 1_000_000, usual * of
        if value > usual and far and max(0, cases - expected) ** 2 > 9 * max(expected, 1_000_000) * 1_000_000:
            above.add(who)
    return above, {"median": usual, "median_distance": spread, "sum_of_distances": total}


def tally_weeks(book: Ledger, offset: int, covers: dict[str, int]) -> dict[int, Counter[tuple[str, str]]]:
    """What each did in each week, by the logs up to the sizes covered."""
    weeks: dict[int, Counter[tuple[str, str]]] = defaultdict(Counter)
    for log, index, at, who, tally in book.acts:
        if index < covers.get(log, 0) and who in book.members:
            weeks[week_of(at, offset)][who, tally] += 1
    return weeks


def shares_of(view: View, counts: Counter[tuple[str, str]], pair: tuple[str, str]) -> list[tuple[str, int, int]]:
    """So many of so many, of each member that has enough cases."""
    members, roles = view.book.members, ("Hospital",) if pair in COMPARED else ("Hospital", "Community")
    plays = lambda who: any(view.good(who, role, EVER) and role in members[who].roles for role in roles)
    return [(who, counts[who, pair[0]], counts[who, pair[1]]) for who in sorted(members) if counts[who, pair[1]] >= LEAST_CASES and plays(who)]


def found_in(pair: tuple[str, str], shares: list[tuple[str, int, int]]) -> dict[str, int]:
    """Who is told of, with the count, where these are the shares of a week."""
    if pair in CARDS:
        return {who: count for who, count, of in shares if 2 * count > of}
    compared = outliers(shares)
    return {who: count for who, count, _ in shares if compared and who in compared[0]}


def judge_patterns(book: Ledger, view: View, evidence: dict[bytes, bytes]) -> None:
    """Findings about weeks, counted again: by their evidence if that is there, else by every week that they can be about."""
    weeks = tally_weeks(book, book.offset, book.sizes) if book.patterns else {}
    told: dict[tuple[int, tuple], dict[str, int]] = {}
    for week, counts in weeks.items():
        for pair in (*COMPARED, *CARDS):
            told[week, pair] = found_in(pair, shares_of(view, counts, pair))
    spoken = {who: sorted(times) for who, times in book.times.items()} if book.patterns else {}
    for name, at, finding in book.patterns:
        pairs = CARDS if finding["kind"][0] == "AssistedShare" else COMPARED
        what = None
        if finding["evidence"] in evidence:
            try:
                what = judge_evidence(book, view, finding, json.loads(evidence[finding["evidence"]]), pairs)
            except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError):
                what = "its evidence is not that of a week"
            book.counts["weeks counted by their evidence"] += 1
        elif any(told.get((week, pair), {}).get(finding["institution"]) == finding["count"] for week in weeks_before(at, book.offset) for pair in pairs):
            book.counts["weeks counted again"] += 1
        elif any(was_silent(book, spoken, week_begin(week + 1, book.offset), at) for week in weeks_before(at, book.offset)):
            book.counts["findings about weeks in which logs were silent"] += 1
        else:
            what = f"no week of the eight before it has such a share with {finding['count']} cases"
        if what:
            book.wrong(name[0], name[1], f"{finding['kind'][0]} of {finding['institution']}: {what}")


def weeks_before(at: int, offset: int) -> range:
    return range(week_of(at, offset) - 8, week_of(at, offset))


def was_silent(book: Ledger, spoken: dict[str, list[int]], end: int, at: int) -> bool:
    """A day after its end a week is judged without the logs that were silent since, and these may have gone on with it later."""
    return at >= end + DAY and any(bisect_right(spoken.get(who, []), at) == bisect_left(spoken.get(who, []), end) for who in book.members)


def judge_evidence(book: Ledger, view: View, finding: dict, said: dict, pairs: tuple) -> str | None:
    """Counts the week that the evidence names again, over the logs up to the sizes that it covers."""
    offset, pair, covers = said["utc_offset_minutes"], (said["counted"], said["of"]), {who: size for who, size in said["covers"]}
    week = week_of(millis(said["from"]), offset)
    if pair not in pairs or (week_begin(week, offset), week_begin(week + 1, offset)) != (millis(said["from"]), millis(said["until"])):
        return "its evidence names no week, or shares that are not compared"
    if any(size > book.sizes.get(who, 0) for who, size in covers.items()):
        book.counts["weeks beyond the export"] += 1
        return None
    shares = shares_of(view, tally_weeks(book, offset, covers)[week], pair)
    if [tuple(share) for share in said["shares"]] != shares:
        return f"its evidence has other shares than the logs: {shares}"
    if pair in COMPARED and said["compared"] != outliers(shares)[1]:
        return "its evidence has another median or other distances"
    if found_in(pair, shares).get(finding["institution"]) != finding["count"]:
        return "it is not far above the others, or with another count"
    return None


def millis(text: str) -> int:
    """RFC 3339 in UTC, as evidence has it."""
    return round(datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1000)


# ---- report ----------------------------------------------------------------------------------------------------------


def contents(export: Export) -> tuple[str, int, list[tuple[str, str, str, int]]]:
    """The registrar, the time zone and the logs that export.json names."""
    wrong = Unjudged("export.json: not an export of version 1")
    try:
        said = json.loads(export.read(export.base / "export.json", MAX_JSON))
        version, registrar, offset = said["version"], said["registrar"], said["utc_offset_minutes"]
        logs = [(log["institution"], log["origin"], log["dir"], log["size"]) for log in said["logs"]]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise wrong from None
    is_id = lambda text: isinstance(text, str) and 1 <= len(text) <= 24 and ALPHABET.issuperset(text)
    if type(version) is int and version != 1:
        raise Unjudged(f"export.json: version {version} is not known")
    if type(version) is not int or type(offset) is not int or abs(offset) >= 1440 or not is_id(registrar) or len(logs) > MAX_LOGS:
        raise wrong
    for institution, origin, directory, size in logs:
        if not is_id(institution) or not isinstance(origin, str) or directory != f"logs/{institution}" or type(size) is not int:
            raise wrong
    if len({log[0] for log in logs}) != len(logs) or registrar not in [log[0] for log in logs]:
        raise Unjudged("export.json: the registrar's log is missing, or a log is there twice")
    return registrar, offset, sorted(logs, key=lambda log: (log[0] != registrar, log[0]))


def verify(base: Path, vkey_texts: list[str], evidence: dict[bytes, bytes]) -> tuple[Ledger, dict[Name, dict[str, Counter[str]]]]:
    try:
        vkeys = [parse_vkey(text) for text in vkey_texts]
    except Bad as bad:
        raise Unjudged(f"--registrar-vkey: {bad}") from None
    export = Export(base)
    registrar, offset, logs = contents(export)
    book = Ledger(registrar, offset)
    for institution, origin, directory, size in logs:
        try:
            book.read_log(export, institution, origin, directory, size, vkeys if institution == registrar else [])
        except Unjudged as why:
            book.unjudged.append(str(why))
        if institution == registrar:
            if registrar not in book.leaves:
                return book, {}
            own = book.members.get(registrar)
            if own is None or own.changes[0].position != 0 or not {key for _, key in vkeys} & {key for _, key in own.keys["Log"]}:
                book.wrong(registrar, 0, "it does not begin with its own registration under the key that was given")
    book.counts["members without a log here"] = len(set(book.members) - set(book.leaves))
    book.resolve()
    view = View(book, book.sizes)
    paths = judge_vouchers(book, view)
    for name, figures in book.statistics:
        recount(book, name, figures)
    judge_patterns(book, view, evidence)
    return book, account(book, list(paths.values()))


def judge_vouchers(book: Ledger, view: View) -> dict[tuple[str, bytes], list[tuple[Link, State]]]:
    """Every voucher's path; what does not count, and notes that do not hold, are told of."""
    paths = {}
    for voucher, links in book.chains.items():
        known = [link for link in links if link.name[1] < view.sizes.get(link.name[0], 0)]
        fold = Fold(view, voucher, known)
        path, held_back = fold.path()
        fold.report(path, held_back)
        if path:
            paths[voucher] = path
        for link, _ in path:
            if link.step[0] == "Encoded" and (what := vq1(book, link, voucher)):
                book.wrong(link.name[0], link.name[1], f"VQ1: {what}")
    for voucher, kind, note in book.notes:
        links = {link.name: link for link in book.chains.get(voucher, [])}
        if not links:
            book.counts["notes that wait for others"] += 1
        elif not view.author_counts(note, EVER):
            book.wrong(note.name[0], note.name[1], f"{kind}: {note.name[0]} does not play the role {note.role} in good standing there")
        elif note.step[0] == "Cancel":
            judge_note(book, view, voucher, kind, note, links, paths.get(voucher, []))
    return paths


def judge_note(book: Ledger, view: View, voucher: tuple[str, bytes], kind: str, note: Link, links: dict[Name, Link], path: list[tuple[Link, State]]) -> None:
    try:
        what = note_presented(view, voucher, links, note)
    except Waits:
        book.counts["notes that wait for others"] += 1
        return
    if what:
        return book.wrong(note.name[0], note.name[1], f"{kind}: the presentation of a note: {what}")
    used = [link.name[0] for link, _ in path if link.step[0] == "UseConfirmed"]
    if kind == "UseDisputed" and used:
        book.acts.append((note.name[0], note.name[1], note.at, used[-1], "disputed"))


# ---- self-test: a little federation with keys of its own, and errors planted in it -------------------------------------

START = week_begin(2930, 480) + DAY // 2  # a Monday noon
FEDERATION, HOLDERS = "test.example", 34
FIRST, SECOND = bytes(16), bytes(15) + b"\x01"  # two operators


def secret(of: str) -> ed25519.Ed25519PrivateKey:
    return ed25519.Ed25519PrivateKey.from_private_bytes(sha256(of.encode()))


def public(of: str) -> bytes:
    return secret(of).public_key().public_bytes_raw()


def cbor_write(value: Any) -> bytes:
    """What tokens need: integers, bytes, texts and maps whose keys are in order already."""
    head = lambda major, n: bytes([major << 5 | n]) if n < 24 else bytes([major << 5 | 24, n]) if n < 256 else bytes([major << 5 | 26]) + n.to_bytes(4, "big")
    if isinstance(value, int):
        return head(0, value) if value >= 0 else head(1, -1 - value)
    if isinstance(value, dict):
        return head(5, len(value)) + b"".join(cbor_write(key) + cbor_write(item) for key, item in value.items())
    data = value if isinstance(value, bytes) else value.encode()
    return head(2 if isinstance(value, bytes) else 3, len(data)) + data


def seal(kid: bytes, claims: dict, key: str) -> bytes:
    """A COSE_Sign1 under an Ed25519 key."""
    protected, payload = b"\xa2\x01\x27\x04\x48" + kid, cbor_write(claims)
    signature = secret(key).sign(b"\x84\x6aSignature1" + byte_string(protected) + b"\x40" + byte_string(payload))
    return b"\xd2\x84" + byte_string(protected) + b"\xa0" + byte_string(payload) + byte_string(signature)


def base45(data: bytes) -> str:
    out = ""
    for i in range(0, len(data), 2):
        n, width = int.from_bytes(data[i : i + 2], "big"), len(data[i : i + 2]) + 1
        for _ in range(width):
            out += next(c for c, value in BASE45.items() if value == n % 45)
            n //= 45
    return out


def as_name(name: Name) -> dict:
    return dict(zip(("institution", "index", "id"), name))


class Town:
    """Logs that grow record by record, with everybody's keys."""

    def __init__(self) -> None:
        self.logs: dict[str, list[bytes]] = {}
        self.now, self.cti = START, 0
        self.uuid = 0
        for who, role in (("issuer", "Issuer"), ("comm", "Community"), ("module", "Voucher"), ("hosp", "Hospital"), ("other", "Hospital"), ("audit", "Auditor")):
            self.logs[who] = []
            self.register(who, [role])
        self.event("ParametersPublished", **DEFAULTS, format_level=1)
        policy = {"name": "ecg", "title_zh": "心电图", "title_en": "ECG", "service": "ecg", "department": "卫健委", "classes": [("Elderly", {})],
                  "validity_days": 90, "vouchers_per_holder": 9, "departments": ["heart"], "card_allowed": True}
        self.programme = self.record("issuer", "Issuer", ("Programme", {"event": ("Published", {"policy": policy})}))
        self.holder = self.event("Enrolled", id=sha256(b"holder")[:16], key=("Ed25519", {"key": public("phone")}), programme=as_name(self.programme),
                                 community="comm", voucher_module="module")
        self.event("CardIssued", enrolment=as_name(self.holder), card=bytes(16), key=public("card"))

    def copy(self) -> "Town":
        town = object.__new__(Town)
        town.__dict__.update(self.__dict__)
        town.logs = {who: list(log) for who, log in self.logs.items()}
        return town

    # -- records

    def record(self, who: str, role: str, body: tuple, operator: bytes | None = None, at: int | None = None) -> Name:
        self.now += 1000
        log = self.logs[who]
        log.append(b"\x01" + write(RECORD, {"institution": who, "index": len(log), "role": (role, {}), "at": self.now if at is None else at,
                                            "operator": operator, "idempotency": None, "body": body}))
        return who, len(log) - 1, leaf_hash(log[-1])

    def last(self, who: str) -> Name:
        return who, len(self.logs[who]) - 1, leaf_hash(self.logs[who][-1])

    def event(self, kind: str, **event: Any) -> Name:
        return self.record("issuer", "Issuer", ("Registrar", {"event": (kind, event)}))

    def register(self, who: str, roles: list[str], log_key: bytes | None = None) -> Name:
        origin = f"{FEDERATION}/{who}"
        keys = {purpose: public(f"{who} {purpose}") for purpose in ("log", "node", "witness")}
        proofs = {f"proof_{purpose}": secret(f"{who} {purpose}").sign(possession(who, purpose, origin)) for purpose in keys}
        keys["log"] = log_key or keys["log"]
        entry = {"institution": who, "roles": [(role, {}) for role in roles], "url": f"https://{who}.example", "origin": origin, **keys, **proofs}
        return self.event("MemberRegistered", entry=entry)

    def step(self, who: str, role: str, voucher: dict, prev: Name | None, kind: str, operator: bytes | None = None, registrar: Name | None = None, **step: Any) -> Name:
        body = {"voucher": voucher, "prev": prev and as_name(prev), "registrar": as_name(registrar or self.last("issuer")), "step": (kind, step)}
        return self.record(who, role, ("Chain", body), operator)

    def note(self, who: str, role: str, voucher: dict, about: Name, kind: str, **note: Any) -> Name:
        return self.record(who, role, ("Note", {"voucher": voucher, "about": as_name(about), "note": (kind, note)}))

    def presented(self, who: str, claim: int, about: Any, card: bool = False, key: str | None = None, cti: int | None = None, late: int = 0) -> dict:
        self.cti += 1
        claims = {3: who, 6: self.now // 1000 - late, 7: (cti or self.cti).to_bytes(8, "big"), claim: about}
        assisted = {"helper": bytes(16), "reason": ("NoPhone", {})} if card else None
        return {"cose": seal(sha256(b"holder")[:8], claims, key or ("card" if card else "phone")), "assisted": assisted}

    # -- the steps of an honest voucher, each from the record before it

    def generated(self) -> tuple[dict, Name]:
        self.uuid += 1
        voucher = {"issuer": "issuer", "uuid": self.uuid.to_bytes(16, "big")}
        return voucher, self.step("issuer", "Issuer", voucher, None, "Generated", programme=as_name(self.programme), valid_from=self.now, valid_until=self.now + 90 * DAY)

    def issued(self, card: bool = False, node_key: str = "comm node") -> tuple[dict, Name]:
        voucher, at = self.generated()
        at = self.step("issuer", "Issuer", voucher, at, "Sent", community="comm")
        seconds = self.now // 1000
        claims = {1: "comm", 4: seconds + 7_000_000, 5: seconds, 6: seconds, -8: claims_voucher(("issuer", voucher["uuid"])), -9: (5 * 1600 + 3 * 40 + 7).to_bytes(2, "big")}
        at = self.step("comm", "Community", voucher, at, "Encoded", token="VQ1:" + base45(seal(sha256(public("comm node"))[:8], claims, node_key)))
        return voucher, self.step("comm", "Community", voucher, at, "Issued", enrolment=as_name(self.holder), presentation=self.presented("comm", -3, "ecg", card))

    def booked(self, card: bool = False) -> tuple[dict, Name]:
        voucher, at = self.issued(card)
        window = {"respond_by": self.now + DAY, "use_from": self.now, "use_by": self.now + 2 * DAY}
        at = self.step("module", "Voucher", voucher, at, "Booked", hospital="hosp", details=bytes(32), **window)
        return voucher, self.step("hosp", "Hospital", voucher, at, "BookingConfirmed")

    def use(self, voucher: dict, at: Name, who: str = "hosp", **how: Any) -> Name:
        presentation = self.presented(how.pop("aud", who), -4, claims_voucher(("issuer", how.pop("uuid", voucher["uuid"]))), **how)
        return self.step(who, "Hospital", voucher, at, "UseConfirmed", presentation=presentation, complete_by=self.now + DAY)

    def claimed(self, card: bool = False) -> tuple[dict, Name]:
        voucher, at = self.booked(card)
        at = self.use(voucher, at, card=card)
        done = self.presented("hosp", -5, claims_voucher(("issuer", voucher["uuid"])), card)
        at = self.step("hosp", "Hospital", voucher, at, "ExamCompleted", evidence=bytes(32), presentation=done, claim_by=self.now + DAY)
        return voucher, self.step("hosp", "Hospital", voucher, at, "RedemptionClaimed", answers=None)

    def redeemed(self, card: bool = False) -> tuple[dict, Name]:
        voucher, at = self.claimed(card)
        return voucher, self.step("issuer", "Issuer", voucher, at, "Redeemed")

    def reversed(self, voucher: dict, at: Name, operator: bytes) -> Name:
        return self.step("issuer", "Issuer", voucher, at, "Reversed", reason=("Mistake", {}), approver=FIRST, void=True, operator=operator)

    # -- figures, as they stand now

    def covers(self) -> list[dict]:
        return [{"institution": who, "size": len(log), "root": root_of(b"".join(map(leaf_hash, log)), len(log))} for who, log in self.logs.items() if log]

    def figures(self, days: int, known: Any) -> dict:
        """Figures of so many days from the first one on; `known` is the ledger that has read this town."""
        begin = week_begin(2930, 480)
        rows = count_rows(known, View(known, known.sizes), (begin + 480 * 60_000) // DAY, (begin + 480 * 60_000) // DAY + days - 1, 480)
        order = sorted(rows, key=lambda row: (row[0], row[1], row[2] or "", row[3] or "", MEASURE_ORDER[row[4]]))
        table, totals = len(rows).to_bytes(8, "little"), Counter()
        for day, programme, community, hospital, measure in order:
            count = rows[day, programme, community, hospital, measure]
            table += write(ROW, {"day": day, "programme": as_name(programme), "community": community, "hospital": hospital, "measure": (measure, {}), "count": count})
            totals[measure] += count
        return {"from": begin, "until": begin + days * DAY, "offset": 480, "covers": self.covers(), "table": sha256(table), "rows": len(rows),
                "totals": [{"measure": (measure, {}), "count": totals[measure]} for measure in MEASURE_ORDER if totals[measure]]}

    def publish(self, figures: dict, **wrong: Any) -> Name:
        return self.record("issuer", "Issuer", ("Statistics", {"figures": {**figures, **wrong}}))

    def told(self, count: int, evidence: bytes | None = None, kind: str = "AssistedShare") -> Name:
        finding = {"kind": (kind, {}), "institution": "hosp", "voucher": None, "records": [], "count": count, "evidence": evidence and sha256(evidence)}
        return self.record("audit", "Auditor", ("Finding", {"finding": finding}))

    # -- files

    def note_of(self, who: str, size: int, cosigned: bool = True) -> bytes:
        origin, leaves = f"{FEDERATION}/{who}", b"".join(map(leaf_hash, self.logs[who][:size]))
        text = f"{origin}\n{size}\n{base64.b64encode(root_of(leaves, size)).decode()}\n".encode()
        line = lambda name, kind, key, blob: f"\u2014 {name} {base64.b64encode(key_id(name, kind, key) + blob).decode()}\n".encode()
        note = text + b"\n" + line(origin, 1, public(f"{who} log"), secret(f"{who} log").sign(text))
        if cosigned and who != "audit":
            when = self.now // 1000
            signature = secret("audit witness").sign(f"cosignature/v1\ntime {when}\n".encode() + text)
            note += line(f"{FEDERATION}/audit", 4, public("audit witness"), when.to_bytes(8, "big") + signature)
        return note

    def export(self, base: Path) -> None:
        logs = []
        for who, log in self.logs.items():
            directory = base / "logs" / who
            hashes, level = b"".join(map(leaf_hash, log)), 0
            for number in range((len(log) + 255) // 256):
                part = log[256 * number : 256 * number + 256]
                put(directory / tile_path("entries", number, len(part)), b"".join(len(entry).to_bytes(2, "big") + entry for entry in part))
            while hashes:
                for at in range(0, len(hashes), 8192):
                    put(directory / tile_path(str(level), at // 8192, len(hashes[at : at + 8192]) // 32), hashes[at : at + 8192])
                hashes, level = b"".join(root_of(hashes[at : at + 8192], 256) for at in range(0, len(hashes) - 8191, 8192)), level + 1
            put(directory / "checkpoint", self.note_of(who, len(log), cosigned=who != "hosp"))
            if who == "hosp":
                put(directory / "cosigned-checkpoint", self.note_of(who, len(log) - 1))
            line = lambda i, entry: json.dumps({"index": i, "id": leaf_hash(entry).hex(), "bytes": base64.b64encode(entry).decode(), "record": None})
            put(base / "records" / f"{who}.jsonl", "".join(line(i, entry) + "\n" for i, entry in enumerate(log)).encode())
            logs.append({"institution": who, "origin": f"{FEDERATION}/{who}", "size": len(log), "dir": f"logs/{who}"})
        said = {"version": 1, "federation": FEDERATION, "registrar": "issuer", "utc_offset_minutes": 480, "logs": logs}
        put(base / "export.json", json.dumps(said).encode())


def put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def test_vkey() -> str:
    name, key = f"{FEDERATION}/issuer", public("issuer log")
    return f"{name}+{key_id(name, 1, key).hex()}+" + base64.b64encode(b"\x01" + key).decode()


def read_town(town: Town, keep: Path) -> tuple[Ledger, dict]:
    town.export(keep)
    return verify(keep, [test_vkey()], {})


def good_town(keep: Path) -> tuple[Town, bytes]:
    """Everything lawful that the errors need beside them; and the evidence of its finding."""
    town = Town()
    for n in range(HOLDERS):
        town.redeemed(card=n % 10 < 8)
    voucher, at = town.booked()
    presentation = town.presented("module", -6, claims_voucher(("issuer", voucher["uuid"])))
    town.note("module", "Voucher", voucher, at, "CancelRequested", witnessed={"presentation": presentation, "registrar": as_name(town.last("issuer"))})
    at = town.step("hosp", "Hospital", voucher, at, "BookingReleased", reason=("Unable", {}))
    town.step("module", "Voucher", voucher, at, "Returned", reason=("HolderGaveBack", {}))
    voucher, at = town.claimed()
    at = town.step("issuer", "Issuer", voucher, at, "ClaimRejected", reason=("OpeningMissing", {}), is_final=False)
    at = town.step("hosp", "Hospital", voucher, at, "RedemptionClaimed", answers=as_name(at))
    town.reversed(voucher, town.step("issuer", "Issuer", voucher, at, "Redeemed"), SECOND)
    voucher, at = town.generated()
    town.step("issuer", "Issuer", voucher, at, "Voided", cause=("Reason", {"reason": ("Mistake", {})}), operator=FIRST)
    town.record("issuer", "Issuer", ("Approved", {"record": as_name(town.last("issuer")), "approver": FIRST}), operator=SECOND)
    for _ in range(260):
        town.record("audit", "Auditor", ("Heartbeat", {}))
    # One booking lapses by the hospital's own clock; of another the hospital says nothing any more.
    lapses, silent = town.booked(), town.booked()
    town.now += 3 * DAY
    town.record("hosp", "Hospital", ("Heartbeat", {}))
    town.step("module", "Voucher", *lapses, "BookingLapsed", position=as_name(town.last("hosp")))
    town.step("issuer", "Issuer", *silent, "Reclaimed", reason=("Silent", {}), positions=[as_name(town.last("hosp"))])
    known, _ = read_town(town, keep / "half")
    for days in (1, 7, 31):
        town.publish(town.figures(days, known))
        known, _ = read_town(town, keep / f"half-{days}")
    town.now = week_begin(2931, 480) + 3_600_000
    for who, role in (("issuer", "Issuer"), ("comm", "Community"), ("module", "Voucher"), ("hosp", "Hospital"), ("other", "Hospital")):
        town.record(who, role, ("Heartbeat", {}))
    known, _ = read_town(town, keep / "weeks")
    covers = {who: len(log) for who, log in town.logs.items()}
    shares = shares_of(View(known, known.sizes), tally_weeks(known, 480, covers)[2930], CARDS[0])
    stamp = lambda t: datetime.fromtimestamp(t // 1000, timezone.utc).isoformat()
    evidence = json.dumps({"from": stamp(week_begin(2930, 480)), "until": stamp(week_begin(2931, 480)), "utc_offset_minutes": 480, "counted": CARDS[0][0], "of": CARDS[0][1],
                           "least_cases": 30, "shares": shares, "covers": sorted(covers.items()), "more_than_per_cent": 50}).encode()
    town.told(shares[0][1], evidence)
    return town, evidence


def bad_figures(figures: dict) -> list[tuple[str, str, dict]]:
    """Each kind of figure that can be wrong: what it is called, what must be said, and the fields that are other."""
    totals, covers = figures["totals"], figures["covers"]
    other = [{**covers[0], "root": bytes(32)}, *covers[1:]]
    wrong = [(f"figure {item['measure'][0]}", "sums differ", {"totals": [{**t, "count": t["count"] + (t is item)} for t in totals]}) for item in totals]
    return [*wrong, ("figure left out", "sums differ", {"totals": totals[1:]}), ("figure that is there twice", "sums differ", {"totals": [*totals, totals[-1]]}),
            ("figures of another order", "sums differ", {"totals": totals[::-1]}), ("number of rows", "rows are published", {"rows": figures["rows"] + 1}),
            ("table", "digest of the table", {"table": bytes(32)}), ("time zone", "digest of the table", {"offset": -300}),
            ("period", "sums differ", {"from": figures["from"] + DAY}),
            ("root of a covered log", "another root", {"covers": other}), ("log covered twice", "covered twice", {"covers": [*covers, covers[0]]})]


def bad_steps() -> list[tuple[str, str, Any]]:
    """Steps that break a rule, each planted in a town of its own."""

    def after(first: str, how: Any) -> Any:
        return lambda town: how(town, *getattr(town, first)())

    def again(t: Town, v: dict, at: Name) -> Name:
        t.step("issuer", "Issuer", v, at, "Redeemed")
        return t.step("issuer", "Issuer", v, at, "Redeemed")

    def replay(t: Town, v: dict, at: Name) -> Name:
        t.use(v, at, cti=10**6)
        return t.use(*t.booked(), cti=10**6)

    def blocked(t: Town, v: dict, at: Name) -> Name:
        old = t.last("issuer")
        t.event("EnrolmentBlocked", enrolment=as_name(t.holder), reason=("Died", {}))
        t.now += FRESH
        presentation = t.presented("hosp", -4, claims_voucher(("issuer", v["uuid"])))
        return t.step("hosp", "Hospital", v, at, "UseConfirmed", registrar=old, presentation=presentation, complete_by=t.now + DAY)

    def suspended(t: Town, v: dict, at: Name) -> Name:
        t.event("MemberSuspended", institution="hosp", **{"from": len(t.logs["hosp"])}, approver=bytes(16))
        return t.use(v, at)

    def lapse(t: Town, v: dict, at: Name) -> Name:
        t.now += 3 * DAY
        return t.step("module", "Voucher", v, at, "BookingLapsed", position=as_name(at))

    def expire(t: Town, v: dict, at: Name) -> Name:
        t.now += 91 * DAY
        return t.step("issuer", "Issuer", v, at, "Voided", cause=("Expired", {"positions": [as_name(at)]}))

    def cancel(t: Town, v: dict, at: Name, key: str | None = None) -> Name:
        presentation = t.presented("module", -6, claims_voucher(("issuer", v["uuid"])), key=key)
        return t.note("module", "Voucher", v, at, "CancelRequested", witnessed={"presentation": presentation, "registrar": as_name(t.last("issuer"))})

    def resolved(t: Town, v: dict, at: Name) -> Name:
        return t.step("issuer", "Issuer", v, at, "Resolved", outcome=("Keep", {"record": as_name(at)}), approver=FIRST, operator=SECOND)

    def booking(t: Town, who: str, role: str, v: dict, at: Name) -> Name:
        return t.step(who, role, v, at, "Booked", hospital="hosp", details=bytes(32), respond_by=t.now + DAY, use_from=t.now, use_by=t.now + DAY)

    reclaimed = lambda t, v, at: t.step("issuer", "Issuer", v, at, "Reclaimed", reason=("Silent", {}), positions=[])
    return [
        ("a redemption of what is redeemed", "does not follow redeemed", after("redeemed", lambda t, v, at: t.step("issuer", "Issuer", v, at, "Redeemed"))),
        ("a second redemption beside the first", "second successor", after("claimed", again)),
        ("a redemption by the hospital", "for the issuer", after("claimed", lambda t, v, at: t.step("hosp", "Hospital", v, at, "Redeemed"))),
        ("a redemption without an examination", "does not follow", after("booked", lambda t, v, at: t.step("issuer", "Issuer", v, t.use(v, at), "Redeemed"))),
        ("a booking out of custody", "not the custodian", after("issued", lambda t, v, at: booking(t, "comm", "Community", v, at))),
        ("a use at another hospital", "not the custodian", after("booked", lambda t, v, at: t.use(v, at, who="other"))),
        ("a step in another's role", "does not play the role", after("issued", lambda t, v, at: booking(t, "module", "Hospital", v, at))),
        ("a presentation by another key", "does not verify", after("booked", lambda t, v, at: t.use(v, at, key="thief"))),
        ("a card in the phone's place", "does not verify", after("booked", lambda t, v, at: t.use(v, at, key="card"))),
        ("a presentation for another house", "it is for", after("booked", lambda t, v, at: t.use(v, at, aud="other"))),
        ("a presentation of another voucher", "another voucher", after("booked", lambda t, v, at: t.use(v, at, uuid=bytes(16)))),
        ("an old presentation", "five minutes", after("booked", lambda t, v, at: t.use(v, at, late=400))),
        ("a presentation used twice", "presented before", after("booked", replay)),
        ("a note's presentation by another key", "does not verify", after("booked", lambda t, v, at: cancel(t, v, at, "thief"))),
        ("a note about what nobody has", "nobody has the voucher", after("generated", cancel)),
        ("a use long after a block", "too old", after("booked", blocked)),
        ("a use by who is suspended", "good standing", after("booked", suspended)),
        ("a lapse that nothing proves", "no position", after("booked", lapse)),
        ("an expiry that nothing proves", "no position", after("booked", expire)),
        ("a voucher taken back too early", "grace", after("booked", reclaimed)),
        ("a resolution of nothing", "nothing to resolve", after("booked", resolved)),
        ("a reversal by one person", "second person", after("redeemed", lambda t, v, at: t.reversed(v, at, FIRST))),
        ("a fourth hand", "not of this voucher", after("booked", lambda t, v, at: t.step("hosp", "Hospital", v, t.last("audit"), "UseAborted", reason=("Unable", {})))),
        ("a voucher QR by another key", "VQ1", lambda t: ("comm", len(t.logs["comm"]) - 2 if t.issued(node_key="thief") else 0)),
    ]


def bad_records() -> list[tuple[str, str, Any]]:
    """Records that are wrong by themselves or by their place."""
    weak = (1).to_bytes(32, "little")
    restored = ("Registrar", {"event": ("MemberRestored", {"institution": "hosp", "from": 0, "approver": bytes(16)})})

    def endless(t: Town) -> Name:
        """Figures that cover 2^63 logs."""
        log = t.logs["hosp"]
        start = b"\x01" + write("inst", "hosp") + write("u64", len(log)) + write("u32", 3) + write("time", t.now) + bytes(2) + write("u32", 4)
        log.append(start + bytes(18) + write("u64", 2**63))
        return t.last("hosp")

    beat = ("Heartbeat", {})
    approved = lambda t, name, who: t.record("issuer", "Issuer", ("Approved", {"record": as_name(name), "approver": who}), operator=bytes(16))
    return [
        ("a time that goes back", "before that of the record before it", lambda t: t.record("hosp", "Hospital", beat, at=START)),
        ("a name by another hash", "another hash", lambda t: approved(t, (*t.last("issuer")[:2], bytes(32)), SECOND)),
        ("one person twice", "second person", lambda t: approved(t, t.last("issuer"), bytes(16))),
        ("a registrar's event elsewhere", "than the registrar", lambda t: t.record("comm", "Community", restored)),
        ("a weak key", "unfit", lambda t: t.register("weak", ["Hospital"], weak)),
        ("a key that is registered already", "already", lambda t: t.register("double", ["Hospital"], public("hosp log"))),
        ("a card with a key of mixed order", "unfit", lambda t: t.event("CardIssued", enrolment=as_name(t.holder), card=bytes(16), key=mixed_key())),
        ("bytes behind a record", "left over", lambda t: t.logs["hosp"].append(t.logs["hosp"][-1] + b"\0") or t.last("hosp")),
        ("a list of 2^63 entries", "longer than the record", endless),
        ("a week that was not so", "no week", lambda t: t.told(3)),
        ("an outlier among two", "no week", lambda t: t.told(3, kind="OutlierHospital")),
    ]


def mixed_key() -> bytes:
    """A good key and a point of order two: it verifies here and not there."""
    y, x = int.from_bytes(public("card"), "little") & (2**255 - 1), public("card")[31] >> 7
    return (P - y | (1 - x) << 255).to_bytes(32, "little")


def hostile_files() -> list[tuple[str, int, str, Any]]:
    """Files that are not what they should be: name, exit code, what must be said, and what is done to a good export."""
    hosp = Path("logs/hosp")
    bundle = hosp / "tile/entries/000.p"

    def cut(base: Path) -> None:
        file = next((base / bundle).iterdir())
        file.write_bytes(file.read_bytes()[:-10])

    def huge(base: Path) -> None:
        text = f"{FEDERATION}/hosp\n{2**63 - 1}\n{base64.b64encode(bytes(32)).decode()}\n".encode()
        blob = base64.b64encode(key_id(f"{FEDERATION}/hosp", 1, public("hosp log")) + secret("hosp log").sign(text)).decode()
        (base / hosp / "checkpoint").write_bytes(text + f"\n\u2014 {FEDERATION}/hosp {blob}\n".encode())

    def instead(path: Path, to: str | None) -> Any:
        def act(base: Path) -> None:
            (base / path).unlink()
            os.mkfifo(base / path) if to is None else os.symlink(to, base / path)
        return act

    def line(base: Path) -> None:
        file = base / "records/hosp.jsonl"
        file.write_text(file.read_text().replace('"bytes": "AQ', '"bytes": "AR', 1))

    def unsigned(base: Path) -> None:
        file = base / hosp / "cosigned-checkpoint"
        file.write_bytes(file.read_bytes().replace(b"\n", b"\n1", 1))

    text = lambda path, data: lambda base: (base / path).write_bytes(data)
    edit = lambda field, value: lambda base: (base / "export.json").write_text(json.dumps({**json.loads((base / "export.json").read_text()), field: value}))
    return [
        ("a bundle that is cut off", 1, "bundle ends inside", cut),
        ("a head of 2^63 entries", 1, "export.json says", huge),
        ("a head beyond every number", 1, "bad size", text(hosp / "checkpoint", f"{FEDERATION}/hosp\n{10**30}\nAAAA\n\n\u2014 a AAAAAAAA\n".encode())),
        ("no head", 2, "checkpoint", lambda base: (base / hosp / "checkpoint").unlink()),
        ("a head that is a pipe", 2, "not a file", instead(hosp / "checkpoint", None)),
        ("a head that never ends", 2, "out of the export", instead(hosp / "checkpoint", "/dev/zero")),
        ("a link that leads to itself", 2, "checkpoint", instead(hosp / "checkpoint", "checkpoint")),
        ("a head of no text", 1, "no UTF-8", text(hosp / "checkpoint", b"\xff\xfe\n\n")),
        ("another tile above the first level", 1, "level-1 tile", lambda base: (base / "logs/audit/tile/1/000.p/1").write_bytes(bytes(32))),
        ("a tile that is missing", 2, "tile/0", lambda base: next((base / hosp / "tile/0/000.p").iterdir()).unlink()),
        ("an older head that nobody signed", 1, "cosigned-checkpoint", unsigned),
        ("a line of another record", 1, "hosp.jsonl: line 1 ", line),
        ("a line that never ends", 2, "a line longer", text("records/hosp.jsonl", b"[" * (MAX_LINE + 1))),
        ("a line too many", 1, "hosp.jsonl", lambda base: (base / "records/hosp.jsonl").open("a").write("{}\n")),
        ("JSON that is cut off", 2, "export.json", text("export.json", b'{"version": 1, "logs": [')),
        ("JSON that is too deep", 2, "export.json", text("export.json", b"[" * 500_000)),
        ("JSON that is too long", 2, "larger than", text("export.json", b" " * (MAX_JSON + 1))),
        ("JSON that is a list", 2, "export.json", text("export.json", b"[]")),
        ("a number of many digits", 2, "export.json", text("export.json", b'{"version": ' + b"1" * 9999 + b"}")),
        ("another version", 2, "version 2", edit("version", 2)),
        ("a version that is no number", 2, "export.json", edit("version", True)),
        ("logs that are none", 2, "export.json", edit("logs", [1, None])),
        ("a log of another place", 2, "export.json", edit("logs", [{"institution": "issuer", "origin": f"{FEDERATION}/issuer", "dir": "../..", "size": 1}])),
        ("a registrar that is a surrogate", 2, "export.json", edit("registrar", "\ud800")),
        ("a registrar without a log", 2, "registrar's log", edit("registrar", "nobody")),
        ("a day that is too long", 2, "export.json", edit("utc_offset_minutes", 10**9)),
    ]


def answer(base: Path, evidence: dict[bytes, bytes] | None = None) -> tuple[int, list[dict], str]:
    """What is said of an export, as `main` would say it: exit code, findings, and all texts."""
    try:
        book, _ = verify(base, [test_vkey()], evidence or {})
    except Unjudged as why:
        return 2, [], str(why)
    texts = "\n".join([*(finding["what"] for finding in book.findings), *book.unjudged])
    return (1 if book.findings else 2 if book.unjudged else 0), book.findings, texts


def test_town(base: Path, same: Any) -> None:
    """The good town is good, and every error planted in it is found where it stands."""
    town, evidence = good_town(base / "towns")
    town.export(base / "good")
    put(base / "vkey", test_vkey().encode())
    known = {sha256(evidence): evidence}
    same("a good export", answer(base / "good", known)[::2], (0, ""))
    same("a good export without evidence", answer(base / "good")[::2], (0, ""))
    book, _ = verify(base / "good", [test_vkey()], known)
    counted = ("statistics recounted", "weeks counted by their evidence", "superseded records", "records that wait for others", "notes that wait for others")
    same("what was counted", [book.counts[what] for what in counted], [3, 1, 0, 0, 0])
    same("measures", {item["measure"][0] for item in town.figures(7, book)["totals"]}, set(MEASURE_ORDER))
    planted = [(what, words, lambda t, fields=fields: t.publish(town.figures(7, book), **fields)) for what, words, fields in bad_figures(town.figures(7, book))]
    for what, words, plant in [*planted, *bad_steps(), *bad_records()]:
        other = town.copy()
        at = plant(other)
        other.export(base / "planted" / what.replace(" ", "-").replace("'", ""))
        code, findings, texts = answer(base / "planted" / what.replace(" ", "-").replace("'", ""))
        found = any((f["log"], f["index"]) == at[:2] and words in f["what"] for f in findings)
        same(f"planted: {what}", (code, found, "" if found else texts), (1, True, ""))
    other = town.copy()
    wrong = evidence.replace(b'["hosp", ', b'["hosp", 1', 1)
    other.told(10_000, wrong)
    same("evidence of other shares", "other shares than the logs" in answer_of(other, base / "evidence", {sha256(wrong): wrong}), True)
    for what, code, words, harm in hostile_files():
        directory = base / "hostile" / what.replace(" ", "-").replace("^", "")
        town.export(directory)
        harm(directory)
        said, _, texts = answer(directory)
        same(f"hostile: {what}", (said, words in texts or texts), (code, True))


def answer_of(town: Town, directory: Path, evidence: dict[bytes, bytes]) -> str:
    town.export(directory)
    return answer(directory, evidence)[2]


def test_outliers(same: Any) -> None:
    table = [("four are too few", [(0, 50), (0, 50), (0, 50), (50, 50)], None), ("all alike", [(5, 50)] * 6, []), ("one against four", [(0, 50)] * 4 + [(30, 50)], [4]),
             ("two cases more are chance", [(0, 50)] * 4 + [(2, 50)], []), ("far above peers that differ", [(4, 100), (5, 100), (6, 100), (7, 100), (60, 100)], [4]),
             ("far below is no fraud", [(80, 100), (81, 100), (82, 100), (83, 100), (0, 100)], []), ("peers that differ much", [(n, 100) for n in (10, 30, 50, 70, 90)], []),
             ("two of seven", [(n, 100) for n in (50, 1, 2, 3, 2, 1, 60)], [0, 6])]
    for what, shares, above in table:
        found = outliers([(str(n), count, of) for n, (count, of) in enumerate(shares)])
        same(f"outliers: {what}", found and sorted(found[0]), above if above is None else [str(n) for n in above])


def test_examples(same: Any) -> None:
    """A record of each kind, if the documents are at hand."""
    file = Path(__file__).resolve().parent.parent / "docs/record-format-examples.txt"
    if not file.is_file():
        return
    seen = set()
    for line in file.read_text().splitlines():
        what, leaf, entry = line.split(" ")
        same(f"example {what}", leaf_hash(bytes.fromhex(entry)).hex(), leaf)
        kind, body = decode(bytes.fromhex(entry))["body"]
        seen.add((kind, next((body[part][0] for part in ("step", "note", "event") if part in body), "")))
    inner = {"Chain": STEP, "Note": NOTE, "Registrar": REGISTRAR, "Programme": PROGRAMME}
    kinds = {(part[0], variant[0]) for part in BODY[1:] for variant in inner.get(part[0], ("enum", ("",)))[1:]}
    same("kinds without an example", kinds - seen, set())


def test_keys(same: Any) -> None:
    same("a good key", fit_key(public("phone")), True)
    same("a key of mixed order", fit_key(mixed_key()), False)
    for y in sorted(SMALL_ORDER):
        if y < 2**255:
            same(f"a key of small order {y}", [fit_key((y | sign << 255).to_bytes(32, "little")) for sign in (0, 1)], [False, False])
    same("a signature by a key of small order", ed25519_ok((1).to_bytes(32, "little"), (1).to_bytes(32, "little") + bytes(32), b"anything"), False)


def self_test(keep: Path | None = None) -> int:
    """Known answers: RFC 6962, the published note of the C2SP vectors, golden records (actors/src/golden.rs)."""
    checked, failed = [], []

    def same(what: str, a: Any, b: Any) -> None:
        checked.append(what)
        if a != b:
            failed.append(what)
            print(f"FAILED: {what}: {a!r} is not {b!r}")

    leaves = [bytes.fromhex(h) for h in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")]
    roots = {0: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", 1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
             2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125", 3: "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
             8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"}
    tree = Tree()
    for n in range(9):
        if n in roots:
            same(f"root of {n} leaves", tree.root().hex(), roots[n])
        if n < 8:
            tree.add(leaf_hash(leaves[n]))
    same("tile path", tile_path("0", 1234067, 5), "tile/0/x001/x234/067.p/5")
    name, key = parse_vkey("ledger.example/issuer-01+1d94e11b+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4")
    text = ("ledger.example/issuer-01\n1\nhH2/O6WqM8SXbRrP04wkRcdxBnXjSED3frqPG1Slmqo=\n\n\u2014 ledger.example/issuer-01 "
            "HZThG71HvvKZYD41ipu8Chlv8sT4kqR501OtfXenQDsvbW27PR/szqyY61giU6XbqbDN9k5eyT1tVUBv1XsdjgNYnwo=\n")
    same("note", parse_note(text.encode()).signed_by(name, key), True)
    same("forged note", parse_note(text.replace("\n1\n", "\n2\n").encode()).signed_by(name, key), False)
    token = parse_token(bytes.fromhex("d2844da20127044856475aa75463474ca05834a3061a6ae681000748c0c1c2c3c4c5c6c720582003a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b858403f90a10d5d8c601b11ad9873bc1eaf85f0efa53eec58a547d3a669d2935c85eab34290d29b6519dcfc7115de355c7471b5f3ad5d2f2933467c3ecb1f36c59f09"), 172)
    same("token", token.verifies(("Ed25519", {"key": key})), True)

    span = lambda first, n: bytes((first + i) % 256 for i in range(n))
    named = lambda n: {"institution": "nanjing-health", "index": n, "id": span(n, 32)}
    at = lambda n: 1_790_000_000_000 + n
    voucher = {"issuer": "nanjing-health", "uuid": span(0x40, 16)}
    chain = lambda step: ("Chain", {"voucher": voucher, "prev": named(7), "registrar": named(9), "step": step})
    policy = {"name": "ecg", "title_zh": "心电图", "title_en": "ECG", "service": "ecg", "department": "市卫健委", "classes": [("Elderly", {}), ("Disabled", {})],
              "validity_days": 90, "vouchers_per_holder": 2, "departments": ["cardiology"], "card_allowed": True}
    figures = {"from": at(0), "until": at(1), "offset": 480, "covers": [{"institution": "a", "size": 5, "root": span(8, 32)}],
               "table": span(9, 32), "rows": 3, "totals": [{"measure": ("Voided", {}), "count": 4}]}
    golden = [
        (chain(("Generated", {"programme": named(2), "valid_from": at(1), "valid_until": at(2)})), True, "dd8d0be6fad58ee891f4ff3f8ec5c30edbe129900720ca5132bcf798bdca2642"),
        (chain(("Encoded", {"token": "VQ1:ABC"})), False, "5e07b81723c3f2631c589cc73e7dbb41c44db4d121a623c5835ca8348a20e5c9"),
        (chain(("RedemptionClaimed", {"answers": named(8)})), False, "0bdeaf0930657b0a71631e15e603c8d51c13be44b829d56c472b4fa22c741d11"),
        (chain(("Redeemed", {})), True, "0428bdca68093725ca4c4778e3bda9740affdab909bf6a305ba1fcb0721e6827"),
        (("Programme", {"event": ("Changed", {"programme": named(1), "policy": policy})}), True, "86c5d6ed96d4787b9d1df3a2d7b8607a169d3bf6819fbb2dca071ceb2f394af0"),
        (("Statistics", {"figures": figures}), False, "5187c606677ee44afd64ad34e319aae6f6e44a95d40baa4b70adf8e63f9c9943"),
        (("Heartbeat", {}), True, "c0d448013c92ecba47505ff6e952fa110d928fac07f064ba59cd9f7b9ea7c491"),
        (("Approved", {"record": named(7), "approver": span(0x80, 16)}), True, "866e9a3b10bd7026df3ab1bc50bc0abcb64100ff3c8ee3254b0751507428307d"),
    ]
    for body, acted, expected in golden:
        record = {"institution": "nanjing-health", "index": 0x01020304, "role": ("Issuer", {}), "at": at(3_600_000), "body": body,
                  "operator": span(0x70, 16) if acted else None, "idempotency": {"key": span(1, 32), "request": span(2, 32)} if acted else None}
        entry = b"\x01" + write(RECORD, record)
        same(f"golden {body[0]}", leaf_hash(entry).hex(), expected)
        same(f"decoded {body[0]}", decode(entry), record)
    test_examples(same)
    test_keys(same)
    test_outliers(same)
    with tempfile.TemporaryDirectory() as scratch:
        test_town(keep or Path(scratch), same)
    print(f"self-test: {len(checked)} checks, " + (f"{len(failed)} FAILED" if failed else "all good"))
    return 1 if failed else 0


def evidence_in(directory: Path | None) -> dict[bytes, bytes]:
    """Files of evidence by their digests."""
    if directory is None:
        return {}
    try:
        files = sorted(directory.iterdir())
    except OSError as error:
        raise Unjudged(f"{directory}: {error.strerror}") from None
    if len(files) > 10_000:
        raise Unjudged(f"{directory}: more than 10000 files")
    return {sha256(data): data for data in (read_file(file, MAX_EVIDENCE) for file in files)}


def say(book: Ledger, books: dict[Name, dict[str, Counter[str]]], verdict: str) -> None:
    for finding in book.findings:
        place = finding["log"] + ("" if finding["index"] is None else f".{finding['index']}")
        print(f"WRONG {place}: {finding['what']}")
    if book.more:
        print(f"and {book.more} more")
    for why in book.unjudged:
        print(f"NOT JUDGED {why}")
    for what, n in sorted(book.counts.items()):
        print(f"{n:>8} {what}")
    for programme, counts in sorted(books.items()):
        stages = ", ".join(f"{n} {stage}" for stage, n in sorted(counts["stages"].items()))
        stock = ", ".join(f"{who} {n}" for who, n in sorted(counts["stock"].items()) if who)
        print(f"programme {programme[0]}.{programme[1]}: {counts['generated']['in all']} generated: {stages}; in stock: {stock or 'none'}")
    print(verdict)


def main() -> int:
    parser = argparse.ArgumentParser(description="Verifies an export of the voucher ledger. 0: verified, 1: wrong, 2: cannot be judged.")
    parser.add_argument("dir", nargs="?", type=Path)
    parser.add_argument("--registrar-vkey", metavar="VKEY", action="append", help="the registrar's log verification key, the only thing trusted")
    parser.add_argument("--evidence", metavar="DIR", type=Path, help="files that auditors serve as evidence of their findings")
    parser.add_argument("--json", action="store_true", help="the report as JSON")
    parser.add_argument("--self-test", action="store_true", help="check known answers and a small federation with planted errors, kept in DIR if it is given")
    args = parser.parse_args()
    sys.stdout.reconfigure(errors="backslashreplace")
    sys.setrecursionlimit(20_000)
    if args.self_test:
        if args.dir and args.dir.exists() and (not args.dir.is_dir() or any(args.dir.iterdir())):
            parser.error(f"{args.dir} is there already")
        return self_test(args.dir)
    if args.dir is None or args.registrar_vkey is None:
        parser.error("DIR and --registrar-vkey are needed")
    try:
        book, books = verify(args.dir, args.registrar_vkey, evidence_in(args.evidence))
    except (Unjudged, OSError, RecursionError, MemoryError) as why:
        print(json.dumps({"verdict": "unjudged", "why": str(why)}) if args.json else f"cannot be judged: {why}")
        return 2
    verdict = "wrong" if book.findings else "unjudged" if book.unjudged else "verified"
    if args.json:
        programmes = {f"{who}.{index}": {what: n for what, n in counts.items()} for (who, index, _), counts in books.items()}
        print(json.dumps({"verdict": verdict, "findings": book.findings, "more": book.more, "unjudged": book.unjudged, "counts": book.counts,
                          "programmes": programmes}, ensure_ascii=False, indent=1))
    else:
        say(book, books, verdict)
    return {"wrong": 1, "unjudged": 2, "verified": 0}[verdict]


if __name__ == "__main__":
    sys.exit(main())
