# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page's look and its one small script. No font, image or script is ever fetched."""

from __future__ import annotations

CSS = """
:root{color-scheme:light dark;
--bg:#f4f5f7;--surface:#fff;--sunk:#f7f8fa;--ink:#15181c;--ink2:#4d5661;--line:#dde1e6;--grid:#e8ebef;--link:#1a56b0;
--good:#0a6637;--goodbg:#e2f3e8;--bad:#a8121b;--badbg:#fdeaea;--badline:#e9b4b6;--warn:#7d4a00;--warnbg:#fcf0da;
--series:#2467c4;--aim:#6b7480;--p1:#2467c4;--p2:#0f8a80;--p3:#b5710a;--p4:#7a828d}
@media(prefers-color-scheme:dark){:root{
--bg:#0e1114;--surface:#171b20;--sunk:#1c2127;--ink:#e9ebee;--ink2:#aab2bc;--line:#2d343c;--grid:#262c33;--link:#8ab8ff;
--good:#69d496;--goodbg:#12301f;--bad:#ff9490;--badbg:#3b1719;--badline:#6b2c2f;--warn:#f2bd66;--warnbg:#35280f;
--series:#6ea6f5;--aim:#939ca7;--p1:#6ea6f5;--p2:#3fb8ab;--p3:#dfa04a;--p4:#838c97}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue","Liberation Sans",Arial,sans-serif;
-webkit-text-size-adjust:100%;font-variant-numeric:tabular-nums}
main,header.top,footer{max-width:1240px;margin:0 auto;padding:0 24px}
a{color:var(--link)}
h1,h2,h3,h4,p,dl,dd,ul,figure{margin:0;padding:0}
ul{list-style:none}
h1{font-size:20px;font-weight:650}
h2{font-size:20px;font-weight:650;overflow-wrap:anywhere}
h3{font-size:14px;font-weight:650}
h4{font-size:13px;font-weight:650;margin-bottom:8px}
.mono{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"Liberation Mono",monospace;font-size:.87em;
overflow-wrap:anywhere}
.quiet{color:var(--ink2)}.small{font-size:13px}.nowrap{white-space:nowrap}
header.top{display:flex;justify-content:space-between;align-items:baseline;gap:4px 24px;flex-wrap:wrap;padding-top:22px;
padding-bottom:14px}
.card{background:var(--surface);border:1px solid var(--line);border-radius:10px;margin-bottom:20px}
.tag{display:inline-flex;align-items:center;gap:6px;padding:2px 9px 2px 7px;border-radius:999px;font-size:13px;
font-weight:600;white-space:nowrap;line-height:1.5}
.tag svg{width:14px;height:14px;flex:none}
.good{color:var(--good);background:var(--goodbg)}.bad{color:var(--bad);background:var(--badbg)}
.warn{color:var(--warn);background:var(--warnbg)}.none{color:var(--ink2);background:var(--sunk)}
.hero{padding:20px 24px}
.hero.isbad{border-color:var(--badline);border-left:5px solid var(--bad);padding-left:20px}
.hero.isgood{border-left:5px solid var(--good);padding-left:20px}
.hero h2{font-size:26px;line-height:1.25;font-weight:680}
.hero.isbad h2{color:var(--bad)}.hero.isgood h2{color:var(--good)}
.hero>p{margin-top:6px;color:var(--ink2)}
.alarms{margin-top:12px}
.alarms li{display:grid;grid-template-columns:186px 150px 1fr;gap:2px 14px;padding:9px 0;
border-top:1px solid var(--line);
align-items:baseline}
.alarms a{font-weight:650;overflow-wrap:anywhere}
.alarms div{overflow-wrap:anywhere}.alarms div+div{margin-top:3px}
.late .hero.isgood{display:none}
.stale{padding:12px 24px;font-weight:600}
table{border-collapse:collapse;width:100%;font-size:14px}
th{font-size:12.5px;font-weight:600;color:var(--ink2);text-align:left;padding:10px 12px;
border-bottom:1px solid var(--line);
white-space:nowrap}
td{padding:10px 12px;border-top:1px solid var(--grid);vertical-align:middle;overflow-wrap:anywhere}
tbody tr:first-child td{border-top:0}
th:first-child,td:first-child{padding-left:24px}th:last-child,td:last-child{padding-right:24px}
td .quiet{display:block;font-size:12.5px;line-height:1.35}
.estate td{white-space:nowrap}.estate td:first-child{white-space:normal;min-width:200px;max-width:280px}
.estate td:nth-child(3) .quiet,.estate td:nth-child(4),.estate td:nth-child(4) .nowrap{white-space:normal}
.estate td:nth-child(3){min-width:150px}.estate td:nth-child(4){min-width:136px}
.over{color:var(--bad);font-weight:650}
.estate td:first-child a{font-weight:650}
.spark{width:92px;height:34px;display:block}
.tally{display:flex;flex-wrap:wrap;gap:6px;margin-top:12px}.more{color:var(--ink2);padding-top:10px}
td .open{color:var(--bad);margin-top:3px}
.find{padding:12px 24px;border-bottom:1px solid var(--line)}.find[hidden]{display:none}
.find input{font:inherit;color:inherit;background:var(--sunk);border:1px solid var(--line);border-radius:6px;
padding:4px 10px;width:min(320px,55%)}
.cluster>header{padding:18px 24px 14px;display:flex;flex-wrap:wrap;gap:6px 14px;align-items:center}
.cluster>header .quiet{flex:1}
.problems{margin:0 24px 14px;padding:10px 14px;border-radius:8px;overflow-wrap:anywhere}
.problems li+li{margin-top:3px}
.facts{display:grid;grid-template-columns:auto auto auto 1fr;gap:0 36px;padding:0 24px 16px}
.facts dt{font-size:12.5px;color:var(--ink2)}
.charts{display:grid;grid-template-columns:1fr 1fr;border-top:1px solid var(--line)}
.chart{padding:14px 24px 12px}.chart+.chart{border-left:1px solid var(--line)}
.chart figcaption{display:flex;justify-content:space-between;gap:12px;align-items:baseline;flex-wrap:wrap;
margin-bottom:16px}
.chart figcaption b{font-size:17px;font-weight:680;margin-left:8px}
.plot{position:relative;height:126px;margin-left:72px}
.plot svg{position:absolute;inset:0;width:100%;height:100%;overflow:visible}
.plot .y{position:absolute;right:100%;margin-right:10px;transform:translateY(50%);font-size:12px;color:var(--ink2);
white-space:nowrap}
.x{display:flex;justify-content:space-between;margin:7px 0 0 72px;font-size:12px;color:var(--ink2)}
svg path{fill:none;vector-effect:non-scaling-stroke;stroke-linecap:round;stroke-linejoin:round}
.g{stroke:var(--grid);stroke-width:1}.aim{stroke:var(--aim);stroke-width:1.5;stroke-dasharray:5 5}
.series{stroke:var(--series);stroke-width:2}
.dot{stroke:var(--series);stroke-width:8}.ring{stroke:var(--bad);stroke-width:11}.hole{stroke:var(--surface);
stroke-width:5}
.hit{stroke:transparent;stroke-width:22}
.spark .series{stroke-width:1.75}.spark .dot{stroke-width:5.5}.spark .ring{stroke-width:8}.spark .hole{stroke-width:3.5}
.key{display:flex;flex-wrap:wrap;gap:4px 18px;padding:0 24px 14px;font-size:12.5px;color:var(--ink2)}
.key span{display:inline-flex;align-items:center;gap:7px}.key svg{width:22px;height:12px;overflow:visible}
.row{display:grid;grid-template-columns:16px 178px 128px 1fr 1fr 1.45fr 1.2fr;gap:2px 14px;align-items:center;
padding:9px 24px}
.rowhead{font-size:12.5px;font-weight:600;color:var(--ink2);border-top:1px solid var(--line);
border-bottom:1px solid var(--line);
background:var(--sunk)}
.sub{padding:16px 24px 8px;border-top:1px solid var(--line)}
details>summary{list-style:none;cursor:pointer;font-size:14px}
details>summary::-webkit-details-marker{display:none}
details>summary:hover{background:var(--sunk)}
summary:focus-visible,a:focus-visible{outline:2px solid var(--link);outline-offset:-2px;border-radius:4px}
.rows>details+details{border-top:1px solid var(--grid)}
.arrow{width:10px;height:10px;color:var(--ink2)}details[open]>summary .arrow{transform:rotate(90deg)}
.row>span{overflow-wrap:anywhere;min-width:0}.row .l{display:none}
details[open]>summary{background:var(--sunk)}
.inner{padding:14px 24px 22px 54px;border-top:1px solid var(--grid)}
.inner>*+*{margin-top:20px}
.two{display:grid;grid-template-columns:1fr 1fr;gap:20px 40px}
.two>div>*+div{margin-top:20px}
.bar{display:flex;gap:2px;height:20px}.bar i{display:block;min-width:3px;border-radius:3px}
.legend{display:flex;flex-wrap:wrap;gap:4px 18px;margin-top:8px;font-size:13px}
.legend i{display:inline-block;width:10px;height:10px;border-radius:3px;margin-right:7px}
.p1{background:var(--p1)}.p2{background:var(--p2)}.p3{background:var(--p3)}.p4{background:var(--p4)}
.gantt{display:grid;grid-template-columns:62px 1fr;gap:9px 12px;font-size:13px}
.gantt .lane{position:relative;height:12px;margin-top:4px;background:var(--sunk);border-radius:3px}
.gantt .lane i{position:absolute;top:0;bottom:0;min-width:4px;border-radius:3px;background:var(--series)}
.gantt .lane i.soft{background:var(--aim);opacity:.55}
.gantt .lane i.pin{min-width:0;width:12px;height:12px;margin-left:-6px;border-radius:50%;
border:2px solid var(--surface)}
.gantt .said{color:var(--ink2);line-height:1.35;margin-top:3px;overflow-wrap:anywhere}
.measured{columns:2;column-gap:28px;font-size:12.5px}
.measured div{display:flex;justify-content:space-between;gap:10px;padding:3px 0;border-bottom:1px solid var(--grid);
break-inside:avoid}
.measured dt{color:var(--ink2)}.measured dd{text-align:right;overflow-wrap:anywhere;min-width:0}
.checks{border:1px solid var(--line);border-radius:8px;overflow:hidden}
.checks table{font-size:13.5px}.checks td,.checks th{padding:7px 12px}
.checks td:first-child,.checks th:first-child{padding-left:14px;min-width:12em}
.checks td:nth-child(2),.checks td:nth-child(3){white-space:nowrap}
.num{text-align:right}
.said-by{display:grid;grid-template-columns:auto 1fr;gap:3px 16px;font-size:13px}
.said-by dt{color:var(--ink2)}.said-by dd{overflow-wrap:anywhere;min-width:0}
.controls td b{font-weight:650}.controls td{vertical-align:top}.controls .runs .mono{font-size:11.5px;max-width:30ch}
.controls details{border-top:1px solid var(--line)}.row.all{grid-template-columns:16px 1fr}
.controls p.none{padding:0 24px 16px}
footer{padding-top:6px;padding-bottom:40px;color:var(--ink2);font-size:13px}
footer p{max-width:84ch;margin-top:6px}
.hide{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}
@media(max-width:980px){.row{grid-template-columns:16px 170px 120px 1fr 1fr}.row>.wide{display:none}
.facts{grid-template-columns:auto auto auto;gap:10px 36px}.facts .long{grid-column:1/-1}}
@media(max-width:1250px){.estate td .quiet,.estate td .over{white-space:normal}
.estate th:nth-child(n+7),.estate td:nth-child(n+7){display:none}
.estate td,.estate th{padding-left:8px;padding-right:8px}}
@media(max-width:900px){.estate td .nowrap{white-space:normal}
main,header.top,footer{padding-left:14px;padding-right:14px}
.hero{padding:16px}.hero.isbad,.hero.isgood{padding-left:12px}.hero h2{font-size:22px}
.alarms li{display:flex;flex-wrap:wrap}.alarms li>div{flex-basis:100%}
.estate thead,.checks thead,.rowhead{display:none}
.estate tr{display:flex;flex-wrap:wrap;gap:8px 14px;padding:14px 16px;border-top:1px solid var(--line)}
.estate tbody tr:first-child{border-top:0}
.estate td,.estate td:first-child,.estate td:last-child{padding:0;border:0;white-space:normal;min-width:0;
max-width:none;display:block;flex:0 0 calc(50% - 7px)}
.estate td:first-child{flex:1 1 0;min-width:80px}.estate td:nth-child(2){flex:none}
.estate td:nth-child(n+7){display:block}
.estate td:empty,.estate tr[hidden]{display:none}.find{padding:12px 16px}
.estate td[data-l]::before{content:attr(data-l);display:block;font-size:12px;color:var(--ink2)}
.spark{width:100%}
.cluster>header{padding:16px 16px 12px;justify-content:space-between}.cluster>header .quiet{order:3;flex-basis:100%}
.problems{margin:0 16px 14px}
.facts{padding:0 16px 14px;grid-template-columns:minmax(0,1fr) minmax(0,1fr);gap:10px 14px}
.facts .nowrap{white-space:normal}.facts .quiet{display:block}
.charts{grid-template-columns:1fr}.chart{padding:14px 16px}.chart+.chart{border-left:0;border-top:1px solid var(--line)}
.key{padding:0 16px 14px}.sub{padding:14px 16px 8px}
.row{grid-template-columns:14px 1fr auto;padding:11px 16px;row-gap:4px}
.row>span:nth-of-type(n+3){grid-column:2/-1;font-size:13px}.row .l{display:inline;color:var(--ink2)}
.inner{padding:14px 16px 18px}
.two{grid-template-columns:1fr}.measured{columns:1}
.checks tr{display:grid;grid-template-columns:minmax(0,1fr) minmax(0,1fr);gap:3px 12px;padding:10px 14px;
border-top:1px solid var(--grid)}
.checks tbody tr:first-child{border-top:0}
.checks td,.checks td:first-child,.checks td:last-child{padding:0;border:0;text-align:left;min-width:0}
.checks td:first-child{font-weight:600}.checks td:nth-child(2){justify-self:end}
.checks td:nth-child(3),.checks td:nth-child(6){order:2;font-size:12.5px;color:var(--ink2)}.checks td.why{order:3}
.checks td[data-l]::before{content:attr(data-l) " ";color:var(--ink2);font-size:12px}
.checks td.why{grid-column:1/-1}.checks td:empty{display:none}
.controls thead{display:none}.controls tr{display:flex;flex-wrap:wrap;gap:6px 14px;padding:12px 16px;
border-top:1px solid var(--line)}
.controls td,.controls td:first-child,.controls td:last-child{padding:0;border:0;flex:0 0 calc(33% - 10px);min-width:0}
.controls td:first-child{flex:1 0 100%}.controls td:empty{display:none}
.controls .runs td:first-child{flex:1 0 50%}.controls .runs td:nth-child(2){flex:none}
.controls .runs td:nth-child(n+3){flex:0 0 calc(50% - 7px)}
.controls .runs td:nth-child(n+5){flex:1 0 100%}.controls .runs .mono{max-width:none}
.controls td[data-l]::before{content:attr(data-l);display:block;font-size:12px;color:var(--ink2);
font-family:system-ui,sans-serif}
.said-by{grid-template-columns:1fr;gap:0}.said-by dd{margin-bottom:6px}}
@media print{body{background:#fff}.card{break-inside:avoid-page}
details:not([open])::details-content{content-visibility:visible}}
"""

# A page outlives its rendering: what has become overdue since, or a page that nobody renders any more, must show.
SCRIPT = """
(function(){var now=Date.now()/1000,late=0;
document.querySelectorAll('[data-due]').forEach(function(e){
if(now>+e.dataset.due&&!e.classList.contains('over')){e.classList.add('over');
e.textContent='overdue since '+e.dataset.text;if(e.nextElementSibling)e.nextElementSibling.textContent='';
if(e.closest('.estate'))late++}});
var days=Math.floor((now-document.body.dataset.made)/86400),s=document.getElementById('stale'),t=[];
if(days>=2)t.push('This page was made '+days+' days ago: render it again before you rely on it.');
if(late)t.push((late==1?'1 cluster has':late+' clusters have')+' become overdue since it was made.');
if(late)document.body.classList.add('late');
if(t.length){s.textContent=t.join(' ');s.hidden=false}
function open(){var e=location.hash&&document.getElementById(decodeURIComponent(location.hash.slice(1)));
if(e&&e.tagName=='DETAILS')e.open=true}
addEventListener('hashchange',open);open();
var f=document.getElementById('find');if(!f)return;f.parentNode.hidden=false;
f.addEventListener('input',function(){var w=f.value.trim().toLowerCase(),n=0;
document.querySelectorAll('.estate tbody tr').forEach(function(r){
r.hidden=w!=''&&r.textContent.toLowerCase().indexOf(w)<0;if(!r.hidden)n++;
var c=document.getElementById(r.querySelector('a').hash.slice(1));if(c)c.hidden=r.hidden});
document.getElementById('found').textContent=w?n+' found':''})})();
"""

ICONS = {
    "ok": '<circle cx="8" cy="8" r="7" fill="currentColor" opacity=".18"/>'
          '<path d="M4.8 8.3l2.2 2.2 4.3-4.8" stroke="currentColor" stroke-width="1.8"/>',
    "no": '<circle cx="8" cy="8" r="7" fill="currentColor" opacity=".18"/>'
          '<path d="M5.4 5.4l5.2 5.2M10.6 5.4l-5.2 5.2" stroke="currentColor" stroke-width="1.8"/>',
    "warn": '<path d="M8 2.2l6.3 11.3H1.7z" stroke="currentColor" stroke-width="1.5"/>'
            '<path d="M8 6.4v3.2M8 11.6v.1" stroke="currentColor" stroke-width="1.7"/>',
    "late": '<circle cx="8" cy="8" r="6.3" fill="none" stroke="currentColor" stroke-width="1.5"/>'
            '<path d="M8 4.6V8l2.4 1.6" stroke="currentColor" stroke-width="1.6"/>',
    "skip": '<path d="M4 8h8" stroke="currentColor" stroke-width="1.8"/>',
    "arrow": '<path d="M5 2l6 6-6 6" stroke="currentColor" stroke-width="2"/>',
}
