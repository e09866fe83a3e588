// Every word of the page in every language that it speaks: key|English|German|Chinese; "one~many" is chosen by a number.

export const LANGUAGES = ['en', 'de', 'zh'];

export const WORDS = `
signInTitle|Welcome back|Willkommen zurück|欢迎回来
registerTitle|Create an account|Konto anlegen|创建账号
account|Account|Konto|账号
password|Password|Passwort|密码
showPassword|Show password|Passwort zeigen|显示密码
mail|Mail address|E-Mail-Adresse|电子邮箱
mailHint|Only for when you forget your password.|Nur für den Fall, dass du dein Passwort vergisst.|仅在忘记密码时使用。
more|More about you|Mehr über dich|更多资料
stay|Stay signed in on this device|Auf diesem Gerät angemeldet bleiben|在此设备上保持登录
signIn|Sign in|Anmelden|登录
register|Create account|Konto anlegen|创建账号
haveAccount|Have an account?|Schon ein Konto?|已有账号？
noAccount|New here?|Neu hier?|还没有账号？
forgot|Forgot your password?|Passwort vergessen?|忘记密码？
forgotTitle|Forgotten password|Vergessenes Passwort|找回密码
forgotHint|The one you gave when you created the account. A code will be sent there.|Die beim Anlegen des Kontos angegebene. Dorthin kommt ein Code.|创建账号时填写的邮箱，验证码将发送到那里。
sendCode|Send a code|Code senden|发送验证码
code|Code|Code|验证码
codeHint|If account and address belong together, it is on its way. It is good once, for 15 minutes.|Wenn Konto und Adresse zusammengehören, ist er unterwegs. Er gilt einmal, 15 Minuten lang.|如果账号与邮箱匹配，验证码已发出。15 分钟内有效，仅可使用一次。
codeWrong|This code is wrong or no longer good.|Dieser Code ist falsch oder gilt nicht mehr.|验证码错误或已失效。
setPassword|Set password|Passwort setzen|设置密码
passwordSet|Your new password is set. Sign in with it.|Dein neues Passwort gilt. Melde dich damit an.|新密码已设置，请使用新密码登录。
askAdministrator|This server sends no mail. Please ask its administrator to set a new password for you.|Dieser Server verschickt keine E-Mails. Bitte die Administration, dir ein neues Passwort zu setzen.|此服务器不发送邮件，请联系管理员为您重设密码。
elsewhereTitle|Open elsewhere|Woanders geöffnet|已在别处打开
elsewhereTab|Your account is open in another tab of this browser.|Dein Konto ist in einem anderen Tab dieses Browsers offen.|您的账号已在此浏览器的另一个标签页中打开。
elsewherePlace|Your account was opened in too many places; this one gave way to a newer one.|Dein Konto wurde an zu vielen Orten geöffnet; dieser machte einem neueren Platz.|您的账号在过多地方登录，此处已让位给较新的登录。
useHere|Use it here|Hier verwenden|在此处使用
otherAccount|Use another account|Anderes Konto verwenden|使用其他账号

linkConnecting|Connecting…|Verbinden …|正在连接…
linkWaiting|No connection. Trying again in {n} second.~No connection. Trying again in {n} seconds.|Keine Verbindung. Neuer Versuch in {n} Sekunde.~Keine Verbindung. Neuer Versuch in {n} Sekunden.|连接已断开，{n} 秒后重试。
noServer|The server can’t be reached. Trying again…|Der Server ist nicht erreichbar. Neuer Versuch …|无法连接服务器，正在重试…
tryNow|Try now|Jetzt versuchen|立即重试

people|People|Leute|联系人
friends|Friends|Freunde|好友
otherPeople|Other people|Andere Leute|其他人
searchPeople|Search friends and people|Freunde und Leute suchen|搜索好友和其他人
findPeople|Find people|Leute finden|查找联系人
searching|Searching…|Suche …|搜索中…
nobodyFound|Nobody has a name that begins so.|Niemandes Name beginnt so.|没有找到以此开头的名字。
foundCount|{n} person found~{n} people found|{n} Person gefunden~{n} Leute gefunden|找到 {n} 人
noFriendsYet|No friends here yet|Noch keine Freunde hier|还没有好友
noFriendsHelp|Search for somebody by name and ask. Once they agree, you can talk.|Suche jemanden nach Namen und frage an. Wer zustimmt, mit dem kannst du reden.|按名字搜索并发送请求，对方同意后即可聊天。
ask|Ask|Anfragen|添加
asked|Asked|Angefragt|已请求
asksYou|Asks you|Fragt dich|请求添加您
askTitle|Ask to be friends|Freundschaft anfragen|请求添加好友
askNote|A word with it|Ein Wort dazu|附言
askHint|So that they know who you are. You may leave it empty.|Damit klar ist, wer du bist. Kann leer bleiben.|让对方知道您是谁，可留空。
requests|Friend requests|Freundschaftsanfragen|好友请求
noRequests|Nobody is waiting for an answer.|Niemand wartet auf Antwort.|没有待处理的请求。
noNote|Would like to be your friend.|Möchte mit dir befreundet sein.|想添加您为好友。
accept|Accept|Annehmen|接受
decline|Decline|Ablehnen|拒绝
declineQuestion|Decline the request of {name}? They are not told.|Die Anfrage von {name} ablehnen? Davon erfährt niemand.|拒绝 {name} 的请求？对方不会收到通知。
answerTitle|Accept request|Anfrage annehmen|接受请求
alias|Name for this friend|Name für diesen Freund|好友备注
aliasHint|Only you see it.|Nur du siehst ihn.|仅您可见。
rename|Rename|Umbenennen|修改备注
renameHint|Only you see it. The server keeps the first name you give; a later one is kept in this browser.|Nur du siehst ihn. Der Server behält den ersten Namen; ein späterer bleibt in diesem Browser.|仅您可见。服务器保存首次备注，之后的修改仅保存在此浏览器。
removeFriend|Remove friend|Freund entfernen|删除好友
removeQuestion|Remove {name} from your friends? You will not be able to write to each other.|{name} als Freund entfernen? Ihr könnt euch dann nicht mehr schreiben.|删除好友 {name}？之后将无法互发消息。
asks|{name} would like to be your friend|{name} möchte mit dir befreundet sein|{name} 想添加您为好友
agreed|{name} is your friend now|{name} ist jetzt mit dir befreundet|{name} 已成为您的好友
about|About|Über|资料
ownName|Own name|Eigener Name|昵称
userID|ID|ID|ID

chooseTalk|Choose somebody to talk with.|Wähle jemanden zum Reden.|选择一个联系人开始聊天。
talk|Conversation|Unterhaltung|聊天
dialogues|Messages|Nachrichten|消息
online|online|online|在线
offline|offline|offline|离线
noFriend|not a friend|nicht befreundet|非好友
noFriendHelp|You are no longer friends. Ask again to go on.|Ihr seid nicht mehr befreundet. Frage neu an, um weiterzureden.|你们已不是好友，重新请求后才能继续聊天。
sayHello|Nothing said yet. Say hello!|Noch nichts gesagt. Sag hallo!|还没有消息，打个招呼吧！
write|Write a message|Nachricht schreiben|输入消息
send|Send|Senden|发送
emoji|Emoji|Emoji|表情
tooLong|This is too long to send at once. Please split it.|Das ist zu lang für eine Nachricht. Bitte aufteilen.|消息过长，请分开发送。
you|You: |Du: |我：
draft|Draft:|Entwurf:|草稿：
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
nothingFound|Nothing|Nichts|无结果
hitOf|{n} of {of}|{n} von {of}|{n} / {of}
previous|Previous|Vorige|上一个
next|Next|Nächste|下一个
forgetTalk|Delete conversation|Unterhaltung löschen|删除聊天记录
forgetTalkQuestion|Delete the conversation with {name} from this browser? Your friend keeps theirs.|Die Unterhaltung mit {name} in diesem Browser löschen? Bei der anderen Seite bleibt sie.|从此浏览器删除与 {name} 的聊天记录？对方的记录不受影响。
today|Today|Heute|今天
yesterday|Yesterday|Gestern|昨天

yourProfile|Your profile|Dein Profil|个人资料
name|Name|Name|名字
sign|About you, in a line|Über dich, in einer Zeile|个性签名
sex|Gender|Geschlecht|性别
birthday|Birthday|Geburtstag|生日
choosePicture|Choose a picture|Bild wählen|选择头像
noPicture|None|Keins|移除
noSuchPicture|This file is not a picture that the browser can read.|Diese Datei ist kein Bild, das der Browser lesen kann.|浏览器无法读取此图片。
cropHelp|Picture: drag, or use the arrow keys, to move it|Bild: ziehen oder mit Pfeiltasten verschieben|头像：拖动或用方向键移动
zoom|Zoom|Zoom|缩放
usePicture|Use picture|Bild verwenden|使用头像
mailAndPassword|Mail address and password|E-Mail-Adresse und Passwort|邮箱与密码
newPassword|New password|Neues Passwort|新密码
unchanged|Leave it empty to keep yours.|Leer lassen, um sie zu behalten.|留空则不修改。
settings|Settings|Einstellungen|设置
notify|Notifications|Benachrichtigungen|通知
notifyHint|When something arrives while you look elsewhere.|Wenn etwas ankommt, während du woanders bist.|当您不在此页面时提醒。
notifyRefused|The browser does not allow it for this page.|Der Browser erlaubt es dieser Seite nicht.|浏览器未允许此页面发送通知。
sound|Sound|Ton|声音
soundHint|Two soft notes for what arrives.|Zwei leise Töne für Neues.|新消息提示音。
history|History|Verlauf|聊天记录
historyHint|Messages are kept in this browser only. The server stores none of them.|Nachrichten bleiben nur in diesem Browser. Der Server speichert keine.|消息仅保存在此浏览器中，服务器不会保存。
export|Export|Exportieren|导出
forgetAll|Delete history|Verlauf löschen|删除全部记录
forgetAllQuestion|Delete every conversation of this account from this browser?|Alle Unterhaltungen dieses Kontos in diesem Browser löschen?|从此浏览器删除此账号的全部聊天记录？
signOut|Sign out|Abmelden|退出登录
signOutQuestion|Sign out? Your conversations stay in this browser.|Abmelden? Deine Unterhaltungen bleiben in diesem Browser.|退出登录？聊天记录会保留在此浏览器中。

menu|Menu|Menü|菜单
back|Back|Zurück|返回
close|Close|Schließen|关闭
cancel|Cancel|Abbrechen|取消
save|Save|Speichern|保存
delete|Delete|Löschen|删除
note|Note|Hinweis|提示
fillIn|Please fill this in.|Bitte ausfüllen.|请填写此项。

code0|The server can’t be reached.|Der Server ist nicht erreichbar.|无法连接服务器。
code403|The server can’t take this. Is something too long?|Das nimmt der Server nicht an. Ist etwas zu lang?|服务器无法接受，内容是否过长？
code404|This server can’t do that.|Das kann dieser Server nicht.|此服务器不支持该操作。
code413|This is too large.|Das ist zu groß.|内容过大。
code429|Too many attempts. Please wait a moment.|Zu viele Versuche. Bitte warte einen Moment.|尝试次数过多，请稍候。
code500|The server has a problem. Please try again.|Der Server hat ein Problem. Bitte versuche es erneut.|服务器出现问题，请重试。
code501|Please enter your account.|Bitte gib dein Konto an.|请输入账号。
code502|Please enter a password.|Bitte gib ein Passwort an.|请输入密码。
code503|Please enter a mail address.|Bitte gib eine E-Mail-Adresse an.|请输入电子邮箱。
code504|Somebody has this account already.|Dieses Konto gibt es schon.|该账号已存在。
code505|Account or password is wrong.|Konto oder Passwort ist falsch.|账号或密码错误。
code507|your friend could not take it.|konnte nicht angenommen werden.|对方未能接收。
code512|you are not friends.|ihr seid nicht befreundet.|你们不是好友。
code515|Your sign-in has run out. Please sign in again.|Deine Anmeldung ist abgelaufen. Bitte melde dich neu an.|登录已过期，请重新登录。
code522|You are friends already.|Ihr seid schon befreundet.|你们已经是好友。
code523|This person or request is no longer there.|Diese Person oder Anfrage gibt es nicht mehr.|该用户或请求已不存在。
codeOther|That did not work (code {code}).|Das ging nicht (Code {code}).|操作失败（代码 {code}）。
`.split('\n').filter(Boolean).map((row) => row.split('|'));
