"""The frame: unattend, settings, component, their attributes, the file's name.

Sources: the frame's XSD (cschneegans/unattend-generator resource/autounattend.xsd, a copy of the
ADK's) and what 412 public answer files write.
"""

from collections import Counter
from collections.abc import Iterator

from builder.answer.document import UNATTEND, Element
from builder.answer.rules.answer import Answer, AnswerKind, is_placeholder, shown
from builder.answer.rules.table import Finding
from builder.answer.schema import PASSES

TOKEN = "31bf3856ad364e35"  # noqa: S105  # the public key token of Windows' own components
ARCHITECTURES = frozenset(
    ("amd64", "x86", "arm64", "wow64", "ia64", "arm", "neutral", "msil", "shx", "data")
)
REQUIRED = ("name", "processorArchitecture", "publicKeyToken", "language")
# Azure's scripts write these for wow64 on purpose (Azure/arc_jumpstart and its kin)
WOW64_USED = frozenset(("Microsoft-Windows-TCPIP", "Microsoft-Windows-DNS-Client"))


READ_PASSES = {
    AnswerKind.SETUP: frozenset(PASSES),
    # "Windows Deployment Services": the client unattend is for Windows PE alone, the image unattend
    # for what runs in the installed image
    AnswerKind.WDS_CLIENT: frozenset(("windowsPE",)),
    AnswerKind.IMAGE: frozenset(PASSES) - {"windowsPE"},
}


def judge_frame(answer: Answer) -> Iterator[Finding]:
    """The elements above the settings, from the root down."""
    if answer.document.doctype:
        yield answer.finding("WS007", answer.root, "the file has a DOCTYPE")
    seen: Counter[str] = Counter()
    for element in answer.root.children:
        if element.space != UNATTEND:
            continue  # cpi:offlineImage and the like: the XSD lets foreign elements stand here
        if element.name == "settings":
            yield from _judge_settings(answer, element, seen)
        elif element.name == "servicing":
            if seen:
                yield answer.finding("WS021", element, "servicing stands after settings")
        else:
            what = f"{shown(element.name)} stands directly in unattend"
            yield answer.finding("WS020", element, what)
    if not seen:
        yield answer.finding("WS024", answer.root, "the file has no settings")


def _judge_settings(answer: Answer, element: Element, seen: Counter[str]) -> Iterator[Finding]:
    passes = element.attributes.get("pass", "")
    seen[passes] += 1
    if "pass" not in element.attributes:
        yield answer.finding("WS011", element, "settings without the attribute pass")
    elif passes not in PASSES and not is_placeholder(passes):
        hint = answer.near(passes, frozenset(PASSES))
        what = f"there is no pass {shown(passes)}" + (f"; it is spelt {hint}" if hint else "")
        yield answer.finding("WS010", element, what)
    elif answer.kind_given and passes in set(PASSES) - READ_PASSES[answer.kind]:
        what = f"the pass {shown(passes)} is not read from a file of this kind"
        yield answer.finding("WS027", element, f"{what} ({answer.kind.value})")
    elif seen[passes] > 1:
        yield answer.finding("WS022", element, f"the pass {shown(passes)} is given a second time")
    for child in element.children:
        if child.space == UNATTEND and child.name != "component":
            what = f"{shown(child.name)} stands directly in settings"
            yield answer.finding("WS020", child, what)


def judge_components(answer: Answer) -> Iterator[Finding]:
    """The attributes of every component, and components that stand twice."""
    seen: dict[tuple[str, ...], Element] = {}
    for block in answer.blocks:
        element = block.element
        yield from _judge_attributes(answer, element)
        key = (block.passes, *(element.attributes.get(name, "") for name in REQUIRED))
        first = seen.setdefault(key, element)
        if first is not element:
            what = f"{shown(block.name)} already stands in this pass, in line {first.line}"
            yield answer.finding("WS023", element, what)


def _judge_attributes(answer: Answer, element: Element) -> Iterator[Finding]:
    attributes = element.attributes
    missing = [name for name in REQUIRED if not attributes.get(name)]
    if missing:
        yield answer.finding("WS011", element, f"the component has no {', '.join(missing)}")
    token = attributes.get("publicKeyToken", "")
    if token and token.lower() != TOKEN and not is_placeholder(token):
        # not repeated: in one public file a product key stands here
        what = "publicKeyToken is not that of Windows' components"
        yield answer.finding("WS012", element, what)
    language = attributes.get("language", "")
    if language and language != "neutral" and not is_placeholder(language):
        yield answer.finding("WS013", element, f"language is {shown(language)}")
    scope = attributes.get("versionScope", "")
    if scope and scope not in {"nonSxS", "neutral"} and not is_placeholder(scope):
        known = scope.lower() in {"nonsxs", "neutral"}
        yield answer.finding(
            "WS015" if known else "WS014", element, f"versionScope is {shown(scope)}"
        )
    architecture = attributes.get("processorArchitecture", "")
    if (
        architecture
        and architecture.lower() not in ARCHITECTURES
        and not is_placeholder(architecture)
    ):
        what = f"there is no processorArchitecture {shown(architecture)}"
        yield answer.finding("WS016", element, what)


def judge_architectures(answer: Answer) -> Iterator[Finding]:
    """Files for several architectures, and components that no 64-bit Windows would read."""
    by_pass: dict[str, set[str]] = {}
    by_name: dict[str, set[str]] = {}
    first: dict[tuple[str, str], Element] = {}
    for block in answer.blocks:
        if is_placeholder(block.architecture):
            return
        first.setdefault((block.passes, block.architecture), block.element)
        by_name.setdefault(block.name, set()).add(block.architecture)
        if block.architecture not in {"wow64", "neutral", ""}:
            by_pass.setdefault(block.passes, set()).add(block.architecture)
    for passes, found in by_pass.items():
        if len(found) > 1:
            second = max((first[passes, name] for name in found), key=lambda e: (e.line, e.column))
            what = f"the pass has components for {', '.join(map(shown, sorted(found)))}"
            yield answer.finding("WS017", second, what)
    for block in answer.blocks:
        if by_name[block.name] == {"wow64"} and block.name not in WOW64_USED:
            yield answer.finding(
                "WS018", block.element, f"{shown(block.name)} is there for wow64 only"
            )
    native = {name for found in by_pass.values() for name in found}
    if answer.release and answer.release.build > 7601 and native and "amd64" not in native:
        what = f"the components are for {', '.join(map(shown, sorted(native)))}, not for amd64"
        yield answer.finding("WS019", answer.blocks[0].element, what)


def judge_file_name(answer: Answer) -> Iterator[Finding]:
    """Whether Setup finds the file: windows-setup-automation-overview, search order."""
    stem = answer.name.replace("\\", "/").rpartition("/")[2].lower()
    if stem == "unattend.xml" and answer.kind is AnswerKind.SETUP:
        for element in answer.root.every("settings"):
            if element.attributes.get("pass") == "windowsPE":
                yield answer.finding("WS025", element, "windowsPE settings in an unattend.xml")
                return
