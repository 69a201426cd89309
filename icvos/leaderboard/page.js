'use strict';
const DATA=JSON.parse(document.getElementById('data').textContent);
const COLOURS=['#0072B2','#E69F00','#009E73','#D55E00','#CC79A7','#56B4E9','#8A7F00','#6A6A6A'];
const $=id=>document.getElementById(id);
const make=(tag,text,attributes={})=>{const node=document.createElement(tag);
 if(text!=null)node.textContent=text;for(const[k,v]of Object.entries(attributes))node.setAttribute(k,v);return node};
const draw=(tag,attributes={},text)=>{const node=document.createElementNS('http://www.w3.org/2000/svg',tag);
 for(const[k,v]of Object.entries(attributes))node.setAttribute(k,v);if(text!=null)node.textContent=text;return node};
const show=(value,digits=2)=>value==null?'–':typeof value==='number'?value.toFixed(digits):String(value);
const colour=i=>COLOURS[i%COLOURS.length];
const TALL=200,BESIDE=40,CROWD=40;// rows that are drawn whole; rows kept above and below the view; columns and names in plots
let current=0,sorted=null,kept=[],whole=false;

function cell(value,column){
 if(column.head==='fps'&&value>=10000)return Math.round(value/1000)+'k';
 return typeof value==='number'?show(value,column.head==='fps'&&value>=100?0:column.digits):show(value)}

function drawTable(){
 const table=DATA.tables[current],view=$('table');view.replaceChildren();view.className=table.kind;
 view.setAttribute('aria-rowcount',table.rows.length+1);
 const head=make('tr');
 table.columns.forEach((column,i)=>{const th=make('th',null,{scope:'col'});if(column.numeric)th.className='n';
  const button=make('button',column.head,{type:'button',title:'Sort by '+column.head});
  if(sorted&&sorted.column===i)th.setAttribute('aria-sort',sorted.down?'descending':'ascending');
  button.onclick=()=>{sorted={column:i,down:sorted&&sorted.column===i?!sorted.down:column.numeric};redraw();
   view.querySelectorAll('th button')[i].focus()};
  // Rows come and go as one scrolls: a column is as wide as its longest cell from the start.
  if(table.rows.length>TALL)th.style.minWidth=Math.max(...table.rows.map(row=>cell(row[i],column).length))+3+'ch';
  th.append(button);head.append(th)});
 const order=table.rows.map((_,i)=>i);
 if(sorted)order.sort((a,b)=>{const x=table.rows[a][sorted.column],y=table.rows[b][sorted.column];
  const part=i=>Boolean(table.entries[i]&&table.entries[i].limited);
  if(part(a)!==part(b))return part(a)-part(b);
  if(x==null||y==null)return (x==null)-(y==null)||a-b;
  const d=typeof x==='number'&&typeof y==='number'?x-y:String(x).localeCompare(String(y),'en',{numeric:true});
  return (sorted.down?-d:d)||a-b});
 const words=$('filter').value.toLowerCase().split(/\s+/).filter(Boolean);
 const best=table.columns.map((column,i)=>column.numeric&&!['n','fps','shots'].includes(column.head)&&table.rows.length>1?
  Math.max(...table.rows.map(r=>typeof r[i]==='number'&&(table.kind!=='measured'||r[0]!=='-')?r[i]:-1)):null);
 kept=order.filter(i=>{const text=table.rows[i].join(' ').toLowerCase();return words.every(word=>text.includes(word))});
 const thead=make('thead');thead.append(head);view.append(thead,make('tbody'));
 const box=view.parentElement,tall=kept.length>TALL&&!whole;box.classList.toggle('tall',tall);box.scrollTop=0;
 if(tall)box.tabIndex=0;else box.removeAttribute('tabindex');
 drawRows(best);
 if(tall){view.tBodies[0].dataset.first='';drawRows(best)}// now that the height of a row can be measured
 box.onscroll=tall?()=>drawRows(best):null;
 $('count').textContent=kept.length===table.rows.length?`${kept.length} rows`:`${kept.length} of ${table.rows.length} rows`}

// A long table holds the rows in view alone, between two empty rows as high as those that are left out.
function drawRows(best){
 const table=DATA.tables[current],view=$('table'),box=view.parentElement,body=view.tBodies[0],tall=box.classList.contains('tall');
 const high=body.rows.length>2?body.rows[1].offsetHeight||38:38;
 let first=0,last=kept.length;
 if(tall){first=Math.max(0,Math.floor(box.scrollTop/high/20)*20-BESIDE);last=Math.min(kept.length,first+Math.ceil(box.clientHeight/high)+2*BESIDE+20);
  if(body.dataset.first===String(first)&&body.dataset.last===String(last))return}
 const focus=body.contains(document.activeElement)?document.activeElement.closest('tr').getAttribute('aria-rowindex'):null;
 body.dataset.first=first;body.dataset.last=last;body.replaceChildren();
 const gap=rows=>{const tr=make('tr',null,{class:'gap','aria-hidden':'true'}),td=make('td',null,{colspan:table.columns.length});
  td.style.height=rows*high+'px';tr.append(td);return tr};
 if(tall)body.append(gap(first));
 for(let at=first;at<last;at++){const i=kept[at],row=table.rows[i],tr=make('tr',null,{'aria-rowindex':at+2});
  row.forEach((value,c)=>{const column=table.columns[c],td=make('td');if(column.numeric)td.className='n';
   if(typeof value==='number'&&value===best[c])td.classList.add('best');
   if(column.head==='model'&&table.entries[i]){const dot=make('span',null,{class:'key'});dot.style.background=colour(i);
    const open=make('button',value,{class:'name',type:'button'});open.onclick=()=>details(table.entries[i]);td.append(dot,open)}
   else td.textContent=cell(value,column);
   tr.append(td)});
  body.append(tr)}
 if(tall)body.append(gap(kept.length-last));
 const again=focus&&body.querySelector(`tr[aria-rowindex="${focus}"] .name`);if(again)again.focus({preventScroll:true})}

function redraw(){drawTable();drawHeat()}

function ticks(low,high){const step=[1,2,5,10,20,25,50].find(s=>(high-low)/s<=6)||50,out=[];
 for(let t=Math.ceil(low/step)*step;t<=high+1e-9;t+=step)out.push(t);return out}

function plot(place,points,x,y,options={}){
 const W=520,H=360,L=48,R=18,T=14,B=44,svg=draw('svg',{viewBox:`0 0 ${W} ${H}`,role:'img','aria-label':options.label});
 const shown=points.filter(p=>p[x]!=null&&p[y]!=null&&(!options.log||p[x]>0));
 if(!shown.length){place.append(make('p','No figures.',{class:'soft'}));return}
 const scale=v=>options.log?Math.log10(v):v,xs=shown.map(p=>scale(p[x])),ys=shown.map(p=>p[y]);
 const room=options.log?.25:4;let x0=Math.min(...xs)-room,x1=Math.max(...xs)+room,y0=Math.max(0,Math.min(...ys)-4),
  y1=Math.min(100,Math.max(...ys)+5);
 if(!options.log){x0=Math.max(0,x0);x1=Math.min(100,x1)}
 if(options.square){x0=y0=Math.min(x0,y0);x1=y1=Math.max(x1,y1)}
 const px=v=>L+(v-x0)/(x1-x0||1)*(W-L-R),py=v=>H-B-(v-y0)/(y1-y0||1)*(H-T-B);
 for(const t of ticks(y0,y1)){svg.append(draw('line',{x1:L,x2:W-R,y1:py(t),y2:py(t),class:'grid'}),
  draw('text',{x:L-8,y:py(t)+4,'text-anchor':'end'},t))}
 const marks=options.log?[-1,0,1,2,3,4,5,6].filter(t=>t>=x0&&t<=x1):ticks(x0,x1);
 for(const t of marks){svg.append(draw('line',{x1:px(t),x2:px(t),y1:T,y2:H-B,class:'grid'}),
  draw('text',{x:px(t),y:H-B+18,'text-anchor':'middle'},options.log?(t>=3?10**(t-3)+'k':10**t):t))}
 if(options.square)svg.append(draw('line',{x1:px(x0),y1:py(x0),x2:px(x1),y2:py(x1),class:'axis','stroke-dasharray':'4 4'}));
 svg.append(draw('text',{x:(L+W-R)/2,y:H-6,'text-anchor':'middle'},options.xname),
  draw('text',{x:14,y:(T+H-B)/2,'text-anchor':'middle',transform:`rotate(-90 14 ${(T+H-B)/2})`},options.yname));
 const taken=[];
 for(const p of shown){const cx=px(scale(p[x])),cy=py(p[y]);
  if(p.low!=null&&options.bars)svg.append(draw('line',{x1:cx,x2:cx,y1:py(Math.min(p.high,y1)),y2:py(Math.max(p.low,y0)),
   stroke:p.colour,'stroke-width':2,opacity:.55}));
  const dot=draw('circle',{cx,cy,r:options.small?4.5:6.5,fill:p.colour,'fill-opacity':options.small?.75:1});
  dot.append(draw('title',{},`${p.name}: ${options.xname} ${show(p[x])}, ${options.yname} ${show(p[y])}`));svg.append(dot);
  if(!options.small&&shown.length<=CROWD){let ty=cy-10,left=cx>W*.72;
   while(taken.some(t=>Math.abs(t[1]-ty)<13&&Math.abs(t[0]-cx)<110)&&ty<H-B)ty+=14;taken.push([cx,ty]);
   svg.append(draw('text',{x:cx+(left?-9:9),y:ty,'text-anchor':left?'end':'start',class:'strong'},p.name))}}
 place.append(svg)}

function drawPlots(){
 const table=DATA.tables[current];for(const id of['plot-jf','plot-speed'])$(id).replaceChildren();
 const points=table.entries.map((e,i)=>({...e,name:e.label,colour:colour(i)})).filter(e=>!e.limited);
 $('plots').hidden=!points.length;if(!points.length)return;
 const [first,second]=table.axes;
 $('title-jf').textContent=first+' against '+second;$('title-speed').textContent=table.metric+' against speed';
 plot($('plot-jf'),points,'a','b',{xname:first,yname:second,label:$('title-jf').textContent});
 plot($('plot-speed'),points,'fps','score',{xname:'frames per second (log)',yname:table.metric,log:true,bars:true,
  label:$('title-speed').textContent})}

function drawHeat(){
 const table=DATA.tables[current],view=$('heat');view.replaceChildren();
 const all=table.entries.filter(e=>!e.limited);
 const entries=all.length>CROWD?kept.map(i=>table.entries[i]).filter(e=>e&&!e.limited).slice(0,CROWD):all;
 const names=table.categories;
 $('heat-box').hidden=!names.length||!all.length;if($('heat-box').hidden)return;
 $('heat-some').textContent=all.length>entries.length?` The first ${entries.length} rows of the table, as it is filtered and sorted.`:'';
 const head=make('tr');head.append(make('th','category'));
 entries.forEach(e=>head.append(make('th',e.label,{class:'n'})));
 const thead=make('thead');thead.append(head);view.append(thead);const body=make('tbody');
 names.forEach((name,at)=>{const tr=make('tr');tr.append(make('td',name));
  for(const e of entries){const value=e.categories[at],td=make('td',show(value,1),{class:'n'});
   if(value!=null){const depth=Math.max(0,Math.min(1,value/100));td.style.background=`rgba(var(--heat),${(.08+.8*depth).toFixed(3)})`;
    if(depth>.5)td.style.color=document.documentElement.dataset.theme==='dark'?'#0b0d10':'#fff'}
   if(e.seen.includes(name)){td.textContent+=' *';td.title='the method trained on this category'}
   tr.append(td)}
  body.append(tr)});
 view.append(body)}

function drawCompare(){
 const table=DATA.tables[current],usable=table.entries.filter(e=>!e.limited&&e.videos.some(v=>v!=null));
 $('compare').hidden=usable.length<2;if(usable.length<2)return;
 for(const[id,start]of[['first',0],['second',1]]){const select=$(id);select.replaceChildren();
  usable.forEach((e,i)=>select.append(make('option',e.label,{value:i})));select.value=start;select.onchange=compare}
 compare();
 function compare(){const a=usable[$('first').value],b=usable[$('second').value],place=$('compare-plot'),bars=$('compare-bars');
  place.replaceChildren();bars.replaceChildren();
  const points=table.videos.map((name,i)=>({name,x:a.videos[i],y:b.videos[i],colour:b.videos[i]>a.videos[i]?COLOURS[1]:COLOURS[0]}))
   .filter(p=>p.x!=null&&p.y!=null);
  plot(place,points,'x','y',{xname:a.label,yname:b.label,square:true,small:true,label:'Each video under both methods'});
  const wins=points.filter(p=>p.x>p.y).length,losses=points.filter(p=>p.x<p.y).length;
  const mean=points.reduce((s,p)=>s+p.x-p.y,0)/(points.length||1);
  $('compare-text').textContent=`${a.label} is better on ${wins} videos, ${b.label} on ${losses}; mean difference ${show(mean)} points a video.`;
  const pair=(table.differences||[]).find(d=>d.a===a.key&&d.b===b.key||d.a===b.key&&d.b===a.key);
  if(pair&&pair.interval){const sign=pair.a===a.key?1:-1,turn=r=>sign>0?r:[-r[1],-r[0]],text=r=>`from ${show(r[0])} to ${show(r[1])}`;
   const over=turn(pair.interval),range=turn(pair.categories||pair.interval);
   $('compare-text').textContent+=` ${table.metric}: ${show(sign*pair.value)}, 95 % ${text(over)}`+
    (pair.categories?` over videos and ${text(range)} over categories`:'')+(range[0]>0||range[1]<0?'.':': chance could explain it.')}
  const order=[...points].sort((p,q)=>Math.abs(q.x-q.y)-Math.abs(p.x-p.y)).slice(0,14);
  const most=Math.max(1,...order.map(p=>Math.abs(p.x-p.y))),W=520,S=22,svg=draw('svg',{viewBox:`0 0 ${W} ${order.length*S+24}`,
   role:'img','aria-label':'Largest differences'});
  order.forEach((p,i)=>{const d=p.x-p.y,w=Math.abs(d)/most*120,y=i*S+6;
   svg.append(draw('rect',{x:d>0?380-w:380,y,width:w,height:14,rx:3,fill:d>0?COLOURS[0]:COLOURS[1]}),
    draw('text',{x:4,y:y+11,class:'strong'},p.name.length>30?p.name.slice(0,29)+'…':p.name),
    draw('text',{x:d>0?386:374,y:y+11,'text-anchor':d>0?'start':'end'},(d>0?'+':'')+d.toFixed(1)))});
  svg.append(draw('line',{x1:380,x2:380,y1:0,y2:order.length*S+4,class:'axis'}));bars.append(svg)}}

function details(entry){
 const view=$('details-body');view.replaceChildren(make('h2',entry.label));
 const list=make('dl');
 for(const[name,value]of entry.details){if(!DATA.texts[value])continue;list.append(make('dt',DATA.texts[name]),make('dd',DATA.texts[value]))}
 view.append(list);
 for(const[title,rows]of entry.tables){if(!rows.length)continue;view.append(make('h3',DATA.texts[title]));
  const table=make('table'),body=make('tbody');
  for(const row of rows){const tr=make('tr');row.forEach((v,i)=>tr.append(make('td',i?show(v):DATA.texts[v],i?{class:'n'}:{})));body.append(tr)}
  table.append(body);const box=make('div',null,{class:'scroll'});box.append(table);view.append(box)}
 $('details').showModal()}

function choose(index){
 current=index;sorted=null;const table=DATA.tables[index];if(!table)return;
 $('title').replaceChildren(table.title);const kind=make('span',table.kind,{class:'kind '+table.kind});$('title').append(kind);
 $('notes').replaceChildren(...table.notes.map(n=>make('li',n)));
 drawTable();drawPlots();drawHeat();drawCompare();
 history.replaceState(null,'','#'+table.id)}

const picker=$('picker');
for(const kind of['measured','published']){const group=make('optgroup',null,{label:kind==='measured'?'Measured':'Printed in papers, not measured'});
 DATA.tables.forEach((t,i)=>{if(t.kind===kind)group.append(make('option',t.title,{value:i}))});if(group.children.length)picker.append(group)}
picker.onchange=()=>choose(+picker.value);$('filter').oninput=redraw;
for(const[event,print]of[['beforeprint',true],['afterprint',false]])addEventListener(event,()=>{whole=print;if(DATA.tables[current])drawTable()});
$('close').onclick=()=>$('details').close();
const theme=value=>{document.documentElement.dataset.theme=value;$('theme').textContent=value==='dark'?'Light':'Dark';if(DATA.tables[current])drawHeat()};
theme(matchMedia('(prefers-color-scheme: dark)').matches?'dark':'light');
$('theme').onclick=()=>theme(document.documentElement.dataset.theme==='dark'?'light':'dark');
const at=DATA.tables.findIndex(t=>'#'+t.id===location.hash);picker.value=Math.max(0,at);choose(Math.max(0,at));
