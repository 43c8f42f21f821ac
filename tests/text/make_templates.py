#!/usr/bin/env python3
"""Writes golden/templates.json: templates, what they are given, and what transformers' Jinja makes of it.

usage: make_templates.py [FOLDER_OF_TEMPLATES [OUTPUT]]   (needs transformers and jinja2)

With a folder every *.jinja of it is rendered on a few conversations instead of the cases below.
"""
import json
import pathlib
import sys

from transformers.utils.chat_template_utils import _compile_jinja_template

CHATML = """{% for message in messages %}{% if loop.first and message['role'] != 'system' %}{{ '<|im_start|>system\\nBe brief.<|im_end|>\\n' }}{% endif %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""
HEADERS = """{{- bos_token }}
{%- for message in messages %}
    {{- '<|start_header_id|>' + message.role + '<|end_header_id|>\\n\\n' + message.content | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""
TURNS = """{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Roles must alternate') }}{% endif %}{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}{{ '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}{% endfor %}{% if add_generation_prompt %}{{'<start_of_turn>model\\n'}}{% endif %}"""
TOOLS = """{%- macro show(tool, level=0) -%}
{{ '  ' * level }}- {{ tool.name }}: {{ tool.parameters | tojson }}
{% endmacro -%}
{%- set ns = namespace(last=none, count=0) %}
{%- if tools is defined and tools %}
Tools ({{ tools | length }}):
{% for tool in tools %}{{ show(tool, level=1) }}{% endfor %}
{% endif %}
{%- for message in messages if message.role != 'system' %}
    {%- if message.tool_calls is defined %}
        {%- for call in message.tool_calls %}
[{{ call.function.name }} {% for key, value in call.function.arguments.items() %}{{ key }}={{ value | tojson if value is not string else value }}{{ ", " if not loop.last }}{% endfor %}]
        {%- endfor %}
    {%- else %}
{{ message.role | upper }}: {{ message.content.split('</think>')[-1].lstrip('\\n') if '</think>' in message.content else message.content }}
    {%- endif %}
    {%- set ns.last = message.role %}
    {%- set ns.count = ns.count + 1 %}
{%- endfor %}
{% generation %}{{ ns.last }} {{ ns.count }}{% endgeneration %}
"""

SAY = [{"role": "user", "content": " Hi <b>\u00e9\u4e2d\U0001f642</b> "}, {"role": "assistant", "content": "<think>\nhm\n</think>\n\nHello"},
       {"role": "user", "content": "And 2+2?\n"}]
SYSTEM = [{"role": "system", "content": "Be kind."}] + SAY
CALL = SAY[:1] + [{"role": "assistant", "tool_calls": [{"type": "function", "id": "call12345", "function": {
    "name": "weather", "arguments": {"city": "K\u00f6ln", "days": 2, "units": ["C", None], "exact": True}}}]},
    {"role": "tool", "tool_call_id": "call12345", "name": "weather", "content": "{\"t\": 21.5}"}]
TOOL = [{"type": "function", "function": {"name": "weather", "description": "It's \"weather\"", "parameters": {
    "type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}, "required": ["city"]}}}]
FLAT = [dict(tool["function"]) for tool in TOOL]

# Expressions, and statements, each on its own: a = 7, b = -2.5, s = "A\u00e9 b", l = [3, 1, 2], d = {...}, n = null.
EXPRESSIONS = r"""a + 1|a - b * 2|a / 2|a // 2|-7 // 2|-7 % 3|a % 4|2 ** 3|2 ** -1|-2 ** 2|b|1e0 if false else 1.0|1.5e3 is defined|a ~ s ~ n ~ true|1 < 2|1 <= a|a == 7.0|'b' in s|1 in l|'x' in d|'q' not in d|not a|not x is defined
a and 0|0 or s|x|x is defined|x is undefined|n is none|n is not none|s is string|a is number|b is float|a is integer|true is boolean|l is iterable|l is sequence|d is mapping|s is mapping|a is odd|a is even|a is divisibleby 7|a is eq 7|a is in [7, 8]|a is not in [7]|true is true|false is false
l|d|[1, 'two', none, 2.0, [true]]|(1, 2)[1]|{'k': 1, "m's": 'q"'}|{'a': 1}.a|d.x|d['y']|d.get('z', 5)|d.get('q')|d.x.w is defined|l[0]|l[-1]|l[9] is defined|s[0]|s[-1]|s[1:]|s[::-1]|l[:2]|l[1:][0]|l[-2:]|l[::2]|'abc'[5:]
s | upper|s | lower|'hello wORLD' | title|'hELLO' | capitalize|'  x ' | trim|'xxaxx' | trim('x')|l | length|s | length|d | length|l | join(', ')|l | sort | join|l | sort(reverse=true) | join('-')|l | reverse | list|s | reverse|l | first|l | last|[] | first is defined
x | default('q')|'' | default('q')|'' | default('q', true)|n | default('q')|'4' | int + 1|'x' | int|'x' | int(3)|'2.5' | float|a | string + 'x'|a | abs|b | abs|2.5 | round|3.14159 | round(2)|l | sum|l | min|l | max|[1, 1, 2] | unique | list
d | tojson|l | tojson|s | tojson|d | tojson(indent=2)|none | tojson|1.5 | tojson|'<é>' | tojson|d | items | map('first') | list|d | dictsort | map('last') | list|people | map(attribute='name') | join(',')|people | map(attribute='pet.kind', default='-') | list|l | map('string') | list|people | selectattr('age', 'gt', 5) | map(attribute='name') | list|people | rejectattr('pet') | map(attribute='name') | list|people | selectattr('name', 'equalto', 'Bo') | list | length|[0, 1, '', 'x'] | select | list|[1, 2, 3] | select('odd') | list|[1, 2, 3] | reject('odd') | list|people | sort(attribute='age') | map(attribute='name') | list|people | groupby('age') if false else 'no'
'a,b,c'.split(',')|'a,b,c'.split(',', 1)|' a  b '.split()|'a b c'.split(none, 1)|'a,b,c'.rsplit(',', 1)|'a\nb\r\nc'.splitlines()|' x '.strip()|'xxaxx'.strip('x')|'xxa'.lstrip('x')|'axx'.rstrip('x')|s.startswith('A')|s.endswith(('z', 'b'))|s.replace('b', 'cc')|'aaa'.replace('a', 'b', 2)|'aaa' | replace('a', 'b')|','.join(['1', '2'])|'{} and {}'.format(1, 'x')|'{0}{1}{0}'.format('a', 'b')|'{x}'.format(x=3)|s.upper()|s.title()|'hello'.find('l')|'hello'.count('l')|'12'.isdigit()|'abc'.removeprefix('a')
d.items() | map('join') | list|d.keys() | list|d.values() | list|range(3) | list|range(1, 7, 2) | list|range(3, 0, -1) | list|'a' * 3|'a' 'b'|'tab\there\x41\u00e9\'"'|"it's"|a if a > 5 else 0|'q' if x|[a, *[]] if false else 1|'-'.join(l | map('string'))|'é' | upper|'ß'.lower()|10 | string | length|'x' ~ 1.0|1 == true|'a' < 'b'|[1, 2] + [3]|[1, 2] == [1, 2]|{'a': 1} == {'a': 1}|'line1\nline2' | indent(2)|'line1\nline2' | indent(2, true)|100000000000000000000.0|0.00001|123456789.125|'%' ~ 5 % 3"""
STATEMENTS = [
    "{% for i in range(5) %}{% if i == 1 %}{% continue %}{% endif %}{% if i == 4 %}{% break %}{% endif %}{{ i }}{% endfor %}",
    "{% for i in [] %}x{% else %}none{% endfor %}", "{% for k, v in d.items() %}{{ loop.index }}{{ k }}={{ v }};{% endfor %}",
    "{% for i in l %}{{ loop.index }}/{{ loop.length }} {{ loop.first }} {{ loop.last }} {{ loop.previtem }} {{ loop.nextitem }} {{ loop.revindex }} {{ loop.cycle('a', 'b') }}\n{% endfor %}",
    "{% for i in l if i > 1 %}{{ i }}{{ loop.length }}{% endfor %}", "{% set x = 1 %}{% for i in l %}{% set x = i %}{% endfor %}{{ x }}",
    "{% set x = 1 %}{% if true %}{% set x = 2 %}{% endif %}{{ x }}", "{% set x %}a{{ a }}{% endset %}[{{ x }}]", "{% set x, y = 1, 2 %}{{ x + y }}",
    "{% set ns = namespace(a=1) %}{% for i in l %}{% set ns.a = ns.a + i %}{% endfor %}{{ ns.a }}",
    "{% macro m(x, y=2) %}<{{ x }}{{ y }}{{ a }}>{% endmacro %}{{ m(1) }}{{ m(1, y='z') }}{{ m() }}", "{% macro f(n) %}{{ n }}{% if n > 0 %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(3) }}",
    "{% filter upper %}a{{ a }}b{% endfilter %}", "a  {#- c -#}  b", "a\n  {# c #}\nb", "x\n  {% if true %}\n  y\n  {% endif %}\nz\n", "x\n  {%- if true -%}\n  y\n  {%- endif %}\nz\n\n",
    "x {% if true %} y {% endif %} z", "  {{ a }}\n  {{- a -}}  \n b", "{% if a == 1 %}1{% elif a == 7 %}7{% else %}e{% endif %}", "{{ '{{' }}{{ '%}' }}", "{%+ if true %}y{% endif %}",
    "{% for p in people %}{% for q in people %}{{ loop.index }}{{ p.name }}{{ q.name }} {% endfor %}{% endfor %}", "a\r\nb{{ a }}\r\n", "{% generation %}g{% endgeneration %}\nh"]
VARIABLES = {"a": 7, "b": -2.5, "s": "A\u00e9 b", "l": [3, 1, 2], "d": {"x": 1, "y": "z"}, "n": None,
             "people": [{"name": "Al", "age": 9, "pet": {"kind": "cat"}}, {"name": "Bo", "age": 4}]}
FAILURES = ["{{ raise_exception('no ' ~ a) }}", "{{ x.y }}", "{{ 1 + 'a' }}", "{{ l.append(1) }}", "{{ nothing() }}", "{{ 1 // 0 }}", "{{ s | nofilter }}", "{{ a is notest }}",
            "{% if %}x{% endif %}", "{% for %}", "{{ (1 }}", "{% if true %}x", "{% endif %}", "{{ 'abc", "{% nonsense %}", "{{ n + 1 }}", "{% for i in 5 %}{% endfor %}", "{{ range(10 ** 8) }}", "{{ s.nomethod() }}"]


def case(name, template, variables):
    try:
        return {"name": name, "template": template, "variables": variables, "text": _compile_jinja_template(template).render(**variables)}
    except Exception as error:  # whatever kind: ours is an error too
        return {"name": name, "template": template, "variables": variables, "error": type(error).__name__}


def chats(name, template, tool_shape):
    base = {"bos_token": "<s>", "eos_token": "</s>"}
    yield case(name, template, {"messages": SAY, "add_generation_prompt": True, **base})
    yield case(name + ", system", template, {"messages": SYSTEM, "add_generation_prompt": False, **base})
    yield case(name + ", tools", template, {"messages": CALL, "tools": tool_shape, "add_generation_prompt": True, **base})


def main():
    here = pathlib.Path(__file__).parent
    cases = []
    if len(sys.argv) > 1:
        for path in sorted(pathlib.Path(sys.argv[1]).glob("*.jinja")):
            cases += chats(path.stem, path.read_text(), TOOL)
    else:
        for name, template in {"chatml": CHATML, "headers": HEADERS, "turns": TURNS, "tools": TOOLS}.items():
            cases += chats(name, template, FLAT)
        for line in EXPRESSIONS.replace(" | ", "\x00").split("\n"):
            for expression in line.split("|"):
                expression = expression.replace("\x00", " | ")
                cases.append(case(expression, "{{ " + expression + " }}", VARIABLES))
        cases += [case(template, template, VARIABLES) for template in STATEMENTS + FAILURES]
    output = pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else here / "golden" / "templates.json"
    output.write_text("[\n" + ",\n".join(json.dumps(c) for c in cases) + "\n]\n")
    print(len(cases), "cases,", sum("error" in c for c in cases), "errors")


if __name__ == "__main__":
    main()
