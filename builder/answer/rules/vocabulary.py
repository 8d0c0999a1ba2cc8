"""Components and settings: do they exist, in this pass, in this release, as often as they stand?"""

import functools
import re

from builder.answer.document import UNATTEND, Element
from builder.answer.rules.answer import Answer, Block, is_placeholder, load_tables, shown
from builder.answer.rules.table import Finding
from builder.answer.rules.values import judge_value
from builder.answer.schema import Component, Kind, Setting

PREFIX = "Microsoft-Windows-"
ACTIONS = frozenset(("add", "modify", "remove"))
SERVER = re.compile(r"Server (\d{4}(?: R2)?)")

# Rules of their own say more about these than the schema does.
OWN_REQUIRED = frozenset(("UserData/AcceptEula", "SetupUILanguage/UILanguage"))
OWN_SETTING = frozenset(("RunSynchronous/RunSynchronousCommand/WillReboot",))  # WS502
OWN_TEXT = frozenset(("UserData",))  # WS301
OWN_DEPRECATED = "OOBE/"  # WS807


def judge_vocabulary(answer: Answer) -> list[Finding]:
    """Every component of the file against the schema."""
    walk = _Walk(answer)
    for block in answer.blocks:
        if block.name and not is_placeholder(block.name):
            walk.component(block)
    return walk.found


class _Walk:
    """One walk over a file; findings are gathered, as generators would cost a third of the time."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.build = answer.release.build if answer.release else 0
        self.found: list[Finding] = []
        self.told_action = False
        self.passes = ""
        self.pass_matters = True
        self.current: Component

    def report(self, rule: str, element: Element, what: str, source: str = "") -> None:
        self.found.append(self.answer.finding(rule, element, what, source))

    def component(self, block: Block) -> None:
        schema, element = self.answer.schema, block.element
        component = schema.component(block.name)
        if component is None:
            component = self.unknown_component(block)
        if component is None:
            return
        self.current, self.passes = component, block.passes
        self.pass_matters = block.passes in component.passes
        if not self.pass_matters and block.passes and not is_placeholder(block.passes):
            rule = "WS106" if block.passes in component.tolerated_passes else "WS105"
            what = (
                f"{block.name} stands in {shown(block.passes)}; its passes are {_passes(component)}"
            )
            self.report(rule, element, what)
        if self.build and component.since_build > self.build:
            self.report("WS131", element, f"{block.name} came with {component.since}")
        if self.answer.release and component.client_only:
            self.report("WS130", element, f"{block.name}: {component.client_only}")
        self.children(element, component.children, None)

    def unknown_component(self, block: Block) -> Component | None:
        """Tell of it; the component that is meant when only its case is another."""
        schema = self.answer.schema
        if block.name in schema.other_names:
            return None
        names = schema.names
        hint = PREFIX + block.name if PREFIX + block.name in names else ""
        hint = hint or self.answer.near(block.name, names)
        if hint.casefold() == block.name.casefold():
            self.report("WS134", block.element, f"{shown(block.name)} is spelt {hint}")
            return schema.component(hint)
        if hint:
            what = f"there is no component {shown(block.name)}; it is spelt {hint}"
            self.report("WS102", block.element, what)
        else:
            self.report("WS101", block.element, f"no reference knows {shown(block.name)}")
        return None

    def children(self, element: Element, known: dict[str, Setting], above: Setting | None) -> None:
        names: set[str] = set()
        keys: dict[tuple[str, str], Element] = {}
        for child in element.children:
            if child.space != UNATTEND:
                self.report("WS026", child, f"{shown(child.name)} is of another namespace")
                continue
            setting = known.get(child.name) or self.spelt_otherwise(child, known, above)
            if setting is None:
                continue
            if setting.is_repeatable:
                self.item(child, setting, keys)
            elif child.name in names:
                self.report(
                    "WS125", child, f"{child.name} is given a second time here", setting.doc
                )
            names.add(child.name)
            self.setting(child, setting)
        if above is not None and above.child_order:
            self.order(element, above)

    def spelt_otherwise(
        self, child: Element, known: dict[str, Setting], above: Setting | None
    ) -> Setting | None:
        path = f"{above.path}/{child.name}" if above else child.name
        component = self.current
        if component.name == "Microsoft-Windows-Setup" and path in OWN_SETTING:
            return None
        legacy = self.answer.schema.legacy(component.name, path)
        if legacy is not None:
            what = f"{path} belongs to {legacy.known_from or 'an older reference'}"
            if legacy.removed_in:
                what = f"{path} was removed in {legacy.removed_in}"
            self.report("WS129", child, what)
            return None
        folded = child.name.casefold()
        for name, setting in known.items():
            if name.casefold() == folded:
                self.report("WS104", child, f"it is spelt {name}", setting.doc)
                return setting
        if is_placeholder(child.name):
            return None
        what = f"{component.name} has no setting {_shown_path(path)}"
        hint = self.answer.near(child.name, frozenset(known))
        what += f"; did you mean {hint}?" if hint else _elsewhere(component, child.name)
        self.report("WS103", child, what)
        return None

    def item(self, child: Element, setting: Setting, keys: dict[tuple[str, str], Element]) -> None:
        action = child.wcm("action")
        if action is None:
            if not self.told_action:
                self.told_action = True
                self.report("WS122", child, f"{child.name} has no wcm:action", setting.doc)
        elif action not in ACTIONS and not is_placeholder(action):
            self.report("WS124", child, f"wcm:action is {shown(action)}", setting.doc)
        if not setting.key or action in {"modify", "remove"}:
            return
        if setting.key == "@keyValue":
            key = child.wcm("keyValue")
            missing = "WS123"
        else:
            holder = child.child(setting.key)
            key = holder.text.strip() if holder is not None else None
            missing = "WS120"
        label = "wcm:keyValue" if setting.key == "@keyValue" else setting.key
        if key is None:
            self.report(missing, child, f"{child.name} has no {label}", setting.doc)
        elif key and not is_placeholder(key):
            place = (child.name, key.casefold())
            first = keys.setdefault(place, child)
            if first is not child:
                what = f"{label} is the same as that of {child.name} in line {first.line}"
                self.report("WS121", child, what, setting.doc)

    def setting(self, child: Element, setting: Setting) -> None:
        outer = self.pass_matters
        if outer and self.passes not in setting.passes:
            self.pass_matters = False  # said once, not again for everything below
            rule = "WS106" if self.passes in setting.tolerated_passes else "WS107"
            what = f"{setting.path} stands in {self.passes}; its passes are {_passes(setting)}"
            self.report(rule, child, what, setting.doc)
        if setting.has_history:
            self.history(child, setting)
        if not setting.is_leaf:
            self.container(child, setting)
        elif child.children:
            what = f"{child.name} holds text, not elements"
            self.report("WS119", child, what, setting.doc)
        else:
            judge_value(self.answer, child, setting, self.found)
        self.pass_matters = outer

    def container(self, child: Element, setting: Setting) -> None:
        if child.text and setting.path not in OWN_TEXT and not child.text.isspace():
            # not repeated: public files have product keys and passwords here
            self.report("WS118", child, f"text stands in {child.name}", setting.doc)
        if setting.kind is Kind.LIST_ITEM and setting.required_children:
            self.required(child, setting)
        self.children(child, setting.children, setting)

    def required(self, child: Element, setting: Setting) -> None:
        if child.wcm("action") in {"modify", "remove"}:
            return
        for name in setting.required_children:
            if name != setting.key and child.child(name) is None:
                self.report("WS132", child, f"{child.name} has no {name}", setting.doc)

    def order(self, element: Element, above: Setting) -> None:
        places = [
            above.child_order.index(child.name)
            for child in element.children
            if child.name in above.child_order
        ]
        if places != sorted(places):
            what = f"the reference demands the order {', '.join(above.child_order)}"
            self.report("WS605", element, what, above.doc)

    def history(self, child: Element, setting: Setting) -> None:
        build = self.build
        parent = setting.path.rpartition("/")[0]
        if build and setting.since_build > build:
            above = self.current.settings.get(parent)
            if above is None or above.since_build <= build:
                what = f"{setting.path} came with {setting.since}"
                self.report("WS126", child, what, setting.doc)
        elif setting.removed_in:
            if _build_of(setting.removed_in) <= (build or 1 << 30):
                what = f"{setting.path} was removed in {setting.removed_in}"
                self.report("WS127", child, what, setting.doc)
        elif setting.do_not_use:
            self.report(
                "WS133", child, f"{setting.path} is not meant for answer files", setting.doc
            )
        elif self.is_deprecated(setting):
            when = f" in {setting.deprecated_in}" if setting.deprecated_in else ""
            self.report("WS128", child, f"{setting.path} is deprecated{when}", setting.doc)

    def is_deprecated(self, setting: Setting) -> bool:
        if not setting.deprecated or setting.path.startswith(OWN_DEPRECATED):
            return False
        return not self.build or _build_of(setting.deprecated_in) <= self.build


@functools.cache
def _build_of(text: str) -> int:
    """The build of the Server release that a text as `Windows 10 1709 / Server 2019` names."""
    found = SERVER.search(text)
    if found is None:
        return 0
    return load_tables().releases[found[1].lower().replace(" ", "")].build


def _passes(owner: Component | Setting) -> str:
    return ", ".join(sorted(owner.passes))


def _shown_path(path: str) -> str:
    return shown(path).strip('"')


def _elsewhere(component: Component, name: str) -> str:
    places = [path for path in component.settings if path.rpartition("/")[2] == name]
    return f"; {name} belongs at {places[0]}" if len(places) == 1 else ""
