# ruff: noqa: E501
"""The style of the HTML page: light and dark, desktop and phone; no fonts or files from elsewhere."""

STYLE = """
:root{color-scheme:light dark;--bg:#fbfbfa;--panel:#fff;--ink:#1b1f24;--soft:#5b6470;--line:#dfe3e8;--accent:#0b5cad;
--hover:#eef4fb;--grid:#e8ebef;--good:#007a57;--bad:#b34700;--heat:11,92,173}
:root[data-theme=dark]{color-scheme:dark;--bg:#14171b;--panel:#1c2026;--ink:#e8eaed;--soft:#a3abb6;--line:#343b44;
--accent:#79b8ff;--hover:#242b34;--grid:#2a3038;--good:#3fd0a0;--bad:#ff9a4d;--heat:86,156,230}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main,header,footer{max-width:1180px;margin:0 auto;padding:0 20px}
header{display:flex;align-items:baseline;gap:16px;padding-top:28px;flex-wrap:wrap}
h1{font-size:1.7rem;margin:0;letter-spacing:-.02em}h2{font-size:1.15rem;margin:0 0 4px}h3{font-size:1rem;margin:0 0 8px}
header p{margin:0;color:var(--soft);flex:1 1 240px}
button,select,input{font:inherit;color:inherit;background:var(--panel);border:1px solid var(--line);border-radius:8px;
padding:7px 11px;min-height:40px;max-width:100%}
button{cursor:pointer}button:hover{background:var(--hover)}
:focus-visible{outline:2px solid var(--accent);outline-offset:2px}
nav{display:flex;gap:10px;flex-wrap:wrap;margin:20px 0 14px}nav select{flex:1 1 320px;min-width:0}nav input{flex:0 1 240px}
section{background:var(--panel);border:1px solid var(--line);border-radius:12px;padding:18px;margin:0 0 18px;min-width:0}
.pair{display:grid;grid-template-columns:1fr 1fr;gap:18px}.pair section{margin:0 0 18px}
.kind{display:inline-block;font-size:.78rem;font-weight:600;border-radius:99px;padding:1px 10px;margin-left:8px;
border:1px solid currentColor;color:var(--good);vertical-align:2px}.kind.published{color:var(--bad)}
.scroll{overflow-x:auto;margin:10px -18px 0;padding:0 18px}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;font-size:.94rem}
th,td{padding:8px 10px;text-align:left;border-bottom:1px solid var(--line);white-space:nowrap}
th.n,td.n{text-align:right}th{padding:0;position:sticky;top:0;background:var(--panel)}
th button{border:0;background:none;width:100%;text-align:inherit;font-weight:600;padding:8px 10px;color:var(--soft)}
th[aria-sort] button{color:var(--ink)}th[aria-sort=ascending] button::after{content:" \\25B2"}
th[aria-sort=descending] button::after{content:" \\25BC"}
tbody tr:hover{background:var(--hover)}td.best{font-weight:700}
td .name{border:0;background:none;padding:0;min-height:0;color:var(--accent);font-weight:600}
td .name:hover{text-decoration:underline;background:none}
.key{display:inline-block;width:10px;height:10px;border-radius:50%;margin-right:8px}
.note{color:var(--soft);font-size:.86rem;margin:10px 0 0;padding-left:18px}.soft{color:var(--soft);font-size:.88rem;margin:0}
svg{display:block;width:100%;height:auto;font-size:12px;overflow:visible}svg text{fill:var(--soft)}
svg .strong{fill:var(--ink)}svg .grid{stroke:var(--grid)}svg .axis{stroke:var(--soft)}
.heat td,.heat th{padding:5px 8px;font-size:.86rem}.heat td.n{border:1px solid var(--panel)}
.heat th{position:static;font-weight:600;color:var(--soft)}
.choose{display:flex;gap:10px;flex-wrap:wrap;margin-bottom:10px}.choose select{flex:1 1 180px;min-width:0}
dialog{color:inherit;background:var(--panel);border:1px solid var(--line);border-radius:14px;max-width:760px;
width:calc(100% - 24px);padding:22px;max-height:90vh}dialog::backdrop{background:rgba(0,0,0,.45)}
dl{display:grid;grid-template-columns:minmax(110px,max-content) 1fr;gap:4px 16px;margin:10px 0;font-size:.92rem}
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}code{font-size:.86em}.close{float:right}
footer{color:var(--soft);font-size:.86rem;padding-bottom:32px}[hidden]{display:none!important}
@media(max-width:760px){main,header,footer{padding-left:12px;padding-right:12px}.pair{grid-template-columns:1fr;gap:0}
section{padding:14px;border-radius:10px}.scroll{margin:8px -14px 0;padding:0 14px}nav input{flex:1 1 100%}
h1{font-size:1.4rem}td:nth-child(2),th:nth-child(2){position:sticky;left:-14px;background:var(--panel);z-index:1}
.published td:nth-child(2),.published th:nth-child(2){position:static}
.published td:first-child,.published th:first-child{position:sticky;left:-14px;background:var(--panel);z-index:1}}
"""
