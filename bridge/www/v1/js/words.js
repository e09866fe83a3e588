// Every word of the page: key|English|German|Chinese. The browser's language is taken.

const LANGUAGES = ['en', 'de', 'zh'];

const WORDS = `
signInTitle|Welcome back|Willkommen zurück|欢迎回来
account|Account|Konto|账号
password|Password|Passwort|密码
showPassword|Show password|Passwort zeigen|显示密码
mail|Mail address|E-Mail-Adresse|电子邮箱
mailHint|For a forgotten password, nothing else.|Nur für ein vergessenes Passwort.|仅在忘记密码时使用。
more|More about you|Mehr über dich|更多资料
stay|Stay signed in|Angemeldet bleiben|保持登录
signIn|Sign in|Anmelden|登录
register|Create account|Konto anlegen|创建账号
haveAccount|Have an account?|Schon ein Konto?|已有账号？
noAccount|New here?|Neu hier?|还没有账号？
forgot|Forgot your password?|Passwort vergessen?|忘记密码？
forgotHint|A code will be sent there.|Dorthin kommt ein Code.|验证码将发送到那里。
sendCode|Send a code|Code senden|发送验证码
code|Code|Code|验证码
codeHint|On its way, if account and address belong together. Good once, for 15 minutes.|Unterwegs, wenn Konto und Adresse zusammengehören. Gilt einmal, 15 Minuten lang.|若账号与邮箱匹配，验证码已发出，15 分钟内有效一次。
codeWrong|Wrong, or no longer good.|Falsch oder nicht mehr gültig.|验证码错误或已失效。
setPassword|Set password|Passwort setzen|设置密码
passwordSet|Your new password is set. Sign in with it.|Dein neues Passwort gilt. Melde dich damit an.|新密码已设置，请重新登录。
askAdministrator|This server sends no mail. Please ask its administrator for a new password.|Dieser Server verschickt keine E-Mails. Bitte die Administration um ein neues Passwort.|此服务器不发送邮件，请联系管理员重设密码。
elsewhereTitle|Open elsewhere|Woanders geöffnet|已在别处打开
elsewhereTab|Your account is open in another tab.|Dein Konto ist in einem anderen Tab offen.|您的账号已在另一个标签页中打开。
elsewherePlace|Your account is open in too many places, and this one gave way.|Dein Konto ist an zu vielen Orten offen; dieser machte Platz.|您的账号在过多地方登录，此处已让位。
useHere|Use it here|Hier verwenden|在此处使用
otherAccount|Use another account|Anderes Konto verwenden|使用其他账号

linkConnecting|Connecting…|Verbinden …|正在连接…
linkWaiting|No connection. Next attempt in {n} s.|Keine Verbindung. Nächster Versuch in {n} s.|连接已断开，{n} 秒后重试。
tryNow|Try now|Jetzt versuchen|立即重试

friends|Friends|Freunde|好友
otherPeople|Other people|Andere Leute|其他人
searchPeople|Search friends and people|Freunde und Leute suchen|搜索好友和其他人
findPeople|Find people|Leute finden|查找联系人
searching|Searching…|Suche …|搜索中…
nobodyFound|Nobody’s name begins so.|Niemandes Name beginnt so.|没有找到以此开头的名字。
foundCount|People found: {n}|Leute gefunden: {n}|找到 {n} 人
noFriendsYet|No friends here yet|Noch keine Freunde hier|还没有好友
noFriendsHelp|Find somebody by name and ask. Once they agree, you can talk.|Suche jemanden nach Namen und frage an. Wer zustimmt, mit dem kannst du reden.|按名字搜索并发送请求，对方同意后即可聊天。
ask|Ask|Anfragen|添加
asked|Asked|Angefragt|已请求
asksYou|Asks you|Fragt dich|请求添加您
askTitle|Ask to be friends|Freundschaft anfragen|请求添加好友
askNote|A word with it|Ein Wort dazu|附言
requests|Friend requests|Freundschaftsanfragen|好友请求
accept|Accept|Annehmen|接受
decline|Decline|Ablehnen|拒绝
declineQuestion|Decline the request of {name}?|Die Anfrage von {name} ablehnen?|拒绝 {name} 的请求？
answerTitle|Accept request|Anfrage annehmen|接受请求
alias|Name for this friend|Name für diesen Freund|好友备注
aliasHint|Only you see it.|Nur du siehst ihn.|仅您可见。
rename|Rename|Umbenennen|修改备注
renameHint|Only you see it. The server keeps the first one, this browser a later one.|Nur du siehst ihn. Der Server behält den ersten, dieser Browser einen späteren.|仅您可见。服务器保存首次备注，之后的仅存于此浏览器。
removeFriend|Remove friend|Freund entfernen|删除好友
removeFriendQuestion|Remove {name}? You will not be able to write to each other.|{name} entfernen? Ihr könnt euch dann nicht mehr schreiben.|删除好友 {name}？之后将无法互发消息。
asks|{name} would like to be your friend|{name} möchte mit dir befreundet sein|{name} 想添加您为好友
agreed|{name} is your friend now|{name} ist jetzt mit dir befreundet|{name} 已成为您的好友
about|About|Über|资料
ownName|Own name|Eigener Name|昵称
userID|ID|ID|ID

chooseTalk|Choose somebody to talk with.|Wähle jemanden zum Reden.|选择一个联系人开始聊天。
dialogues|Messages|Nachrichten|消息
online|online|online|在线
offline|offline|offline|离线
noFriendHelp|You are no longer friends.|Ihr seid nicht mehr befreundet.|你们已不是好友。
sayHello|Nothing said yet. Say hello!|Noch nichts gesagt. Sag hallo!|还没有消息，打个招呼吧！
write|Write a message|Nachricht schreiben|输入消息
send|Send|Senden|发送
emoji|Emoji|Emoji|表情
tooLong|Too long for one message. Please split it.|Zu lang für eine Nachricht. Bitte aufteilen.|消息过长，请分开发送。
you|You: |Du: |我：
draft|Draft: |Entwurf: |草稿：
unread|unread|ungelesen|未读
newDialogues|New|Neu|新消息
toNewest|To the newest|Zum Neuesten|到最新消息
says|{name}: {text}|{name}: {text}|{name}：{text}
queued|waiting for a connection|wartet auf Verbindung|等待连接
sending|on its way|unterwegs|发送中
delivered|delivered|zugestellt|已送达
failed|not delivered|nicht zugestellt|未送达
notThere|Friend is offline, not delivered.|Freund ist offline, nicht zugestellt.|好友离线，未送达。
notKnown|The connection broke: it may not have arrived.|Die Verbindung brach ab: vielleicht nicht angekommen.|连接中断，可能未送达。
notDelivered|Not delivered: {why}|Nicht zugestellt: {why}|未送达：{why}
tryAgain|Try again|Erneut senden|重试
searchTalk|Search in this conversation|In dieser Unterhaltung suchen|搜索聊天记录
hitOf|{n} of {of}|{n} von {of}|{n} / {of}
previous|Previous|Vorige|上一个
next|Next|Nächste|下一个
forgetTalk|Delete conversation|Unterhaltung löschen|删除聊天记录
forgetTalkQuestion|Delete the conversation with {name} from this browser?|Die Unterhaltung mit {name} in diesem Browser löschen?|从此浏览器删除与 {name} 的聊天记录？
today|Today|Heute|今天
yesterday|Yesterday|Gestern|昨天

yourProfile|Your profile|Dein Profil|个人资料
name|Name|Name|名字
sign|About you, in a line|Über dich, in einer Zeile|个性签名
sex|Gender|Geschlecht|性别
birthday|Birthday|Geburtstag|生日
choosePicture|Choose a picture|Bild wählen|选择头像
noPicture|None|Keins|移除
noSuchPicture|The browser can’t read this as a picture.|Das kann der Browser nicht als Bild lesen.|浏览器无法读取此图片。
cropHelp|Picture: drag it, or use the arrow keys|Bild: ziehen oder Pfeiltasten|头像：拖动或用方向键移动
zoom|Zoom|Zoom|缩放
usePicture|Use picture|Bild verwenden|使用头像
newPassword|New password|Neues Passwort|新密码
unchanged|Leave empty to keep yours.|Leer lassen, um nichts zu ändern.|留空则不修改。
settings|Settings|Einstellungen|设置
notify|Notifications|Benachrichtigungen|通知
notifyRefused|The browser does not allow it.|Der Browser erlaubt es nicht.|浏览器未允许通知。
sound|Sound|Ton|声音
history|History|Verlauf|聊天记录
historyHint|Messages are kept in this browser only.|Nachrichten bleiben nur in diesem Browser.|消息仅保存在此浏览器中。
export|Export|Exportieren|导出
forgetAll|Delete history|Verlauf löschen|删除全部记录
forgetAllQuestion|Delete every conversation of yours from this browser?|Alle deine Unterhaltungen in diesem Browser löschen?|从此浏览器删除您的全部聊天记录？
signOut|Sign out|Abmelden|退出登录
signOutQuestion|Sign out? Conversations stay in this browser.|Abmelden? Unterhaltungen bleiben in diesem Browser.|退出登录？聊天记录会保留在此浏览器中。

menu|Menu|Menü|菜单
back|Back|Zurück|返回
close|Close|Schließen|关闭
cancel|Cancel|Abbrechen|取消
save|Save|Speichern|保存
fillIn|Please fill this in.|Bitte ausfüllen.|请填写此项。

code0|The server can’t be reached.|Der Server ist nicht erreichbar.|无法连接服务器。
code403|The server can’t take this. Too long?|Das nimmt der Server nicht an. Zu lang?|服务器无法接受，内容是否过长？
code413|This is too large.|Das ist zu groß.|内容过大。
code429|Too many, or too often. Please wait.|Zu viele oder zu oft. Bitte warte.|次数过多或已达上限，请稍候。
code500|The server has a problem. Please try again.|Der Server hat ein Problem. Versuche es erneut.|服务器出现问题，请重试。
code501|Please enter your account.|Bitte gib dein Konto an.|请输入账号。
code502|Please enter a password.|Bitte gib ein Passwort an.|请输入密码。
code503|Please enter a mail address.|Bitte gib eine E-Mail-Adresse an.|请输入电子邮箱。
code504|Somebody has this account already.|Dieses Konto gibt es schon.|该账号已存在。
code505|Account or password is wrong.|Konto oder Passwort ist falsch.|账号或密码错误。
code507|it could not be taken.|konnte nicht angenommen werden.|对方未能接收。
code512|you are not friends.|ihr seid nicht befreundet.|你们不是好友。
code515|Please sign in again.|Bitte melde dich neu an.|请重新登录。
code522|You are friends already.|Ihr seid schon befreundet.|你们已经是好友。
code523|This person or request is gone.|Diese Person oder Anfrage gibt es nicht mehr.|该用户或请求已不存在。
codeOther|That did not work (code {code}).|Das ging nicht (Code {code}).|操作失败（代码 {code}）。
`.split('\n').filter(Boolean).map((row) => row.split('|'));

const wanted = navigator.languages ?? [navigator.language];
const locale = wanted.find((tag) => LANGUAGES.includes(tag.split('-')[0])) ?? 'en';
const words = new Map(WORDS.map(([key, ...row]) => [key, row[LANGUAGES.indexOf(locale.split('-')[0])]]));

document.documentElement.lang = locale;

/** What is filled in is isolated: a right-to-left name doesn't turn the sentence around. */
export const t = (key, values) => words.get(key).replace(/\{(\w+)\}/g, (_, name) => (typeof values[name] === 'number' ? values[name] : `\u2068${values[name]}\u2069`));

export const tCode = (code) => (words.has(`code${code}`) ? t(`code${code}`) : t('codeOther', {code}));

const formatter = (options) => {
	const format = new Intl.DateTimeFormat(locale, options);
	return (date) => format.format(date);
};
export const clock = formatter({hour: 'numeric', minute: '2-digit'});
export const full = formatter({dateStyle: 'full', timeStyle: 'medium'});
const weekday = formatter({weekday: 'short'});
const short = formatter({day: 'numeric', month: 'short'});
const date = formatter({dateStyle: 'short'});
const thatDay = formatter({weekday: 'long', day: 'numeric', month: 'long'});
const thatYear = formatter({dateStyle: 'long'});

const daysAgo = (when) => Math.round((new Date().setHours(0, 0, 0, 0) - new Date(when).setHours(0, 0, 0, 0)) / 86_400_000);

export function brief(when) {
	const days = daysAgo(when);
	if (days === 1) return t('yesterday');
	return [[1, clock], [7, weekday], [180, short], [Infinity, date]].find(([limit]) => days < limit)[1](when);
}

export function day(when) {
	const days = daysAgo(when);
	return days === 0 ? t('today') : days === 1 ? t('yesterday') : (days < 180 ? thatDay : thatYear)(when);
}
