cd /tmp/gb
try(){ # name, file, python expr on s, tests
 cp "$2" /tmp/gb.bak; python3 - "$2" "$3" <<'P'
import sys
p,e=sys.argv[1:]; s=open(p).read(); t=eval(e); assert t!=s,"no change"; open(p,'w').write(t)
P
 r=$(PYTHONPATH=/tmp/gb OMP_NUM_THREADS=1 nice -n 10 timeout 200 /work/main/.venv/bin/python -m pytest -q -x $4 --basetemp=/tmp/gbpt 2>&1 | tail -1); cp /tmp/gb.bak "$2"; echo "$1: $r"; }
try "option without help" icvos/commands/merge.py 's.replace("help=","hidden=False, short_help=",1) if False else __import__("re").sub(r", help=\"[^\"]*\"","",s,count=1)' "tests/test_docs.py -k option"
try "public name without entry" docs/reference/api.md 's.replace("::: icvos.score\n","")' "tests/test_docs.py -k public"
try "metric without definition" docs/reference/metrics.md 's.replace("`FB_IoU`","`FB`")' "tests/test_docs.py -k metric"
try "new key in result" icvos/runs/result.py 's.replace("summary |= {","summary |= {\"novel\": 1, ",1)' "tests/test_file_fields.py"
try "broken link" docs/gallery.md 's+"\n[x](nowhere.md)\n"' "tests/test_docs.py -k network"
try "broken anchor" docs/gallery.md 's+"\n[x](index.md#nowhere)\n"' "tests/test_docs.py -k network"
try "page not in nav" mkdocs.yml 's.replace("  - gallery.md\n","")' "tests/test_docs.py"
try "command does not parse" docs/how-to/segment.md 's.replace("--support dog.jpg","--suport dog.jpg",1)' "tests/test_docs_commands.py -k parses"
try "python block raises" docs/reference/result.md 's.replace("import icvos\n","import icvos\nicvos.nothing()\n",1)' "tests/test_docs_commands.py -k result"
try "altered expected figure" icvos/toys/paper/expected.json '__import__("re").sub(r"(\"J&F\": \d+)\.(\d)","\\1.9",s,count=1)' "tests/test_toys.py"
try "example output" docs/start/examples.md '__import__("re").sub(r"(\d\d)\.(\d\d)","99.99",s,count=1)' "tests/test_examples.py"
try "protocol without toy" icvos/protocols.py 's.replace("PROTOCOLS = {","PROTOCOLS = {\"new\": Protocol(\"new\", \"video\"), **{",1) if False else s.replace("        Protocol(\"fss-native\"","        Protocol(\"new\", \"video\", text=\"x\"),\n        Protocol(\"fss-native\"",1)' "tests/test_toys.py"
try "workflow target" .github/workflows/docs.yml 's.replace("make docs","make dox")' "tests/test_install.py"
try "bound" setup.cfg 's.replace("pillow>=11","pillow>=10")' "tests/test_install.py"
