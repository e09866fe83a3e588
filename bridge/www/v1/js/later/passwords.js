// The page's own rules for new passwords, beside those of the server.

import {reject} from '../dialogs.js';
import {t} from '../words.js';

const SHORTEST = 8;

// The most common passwords of at least 8 characters, in lower case.
const COMMON = new Set(`
password 12345678 123456789 baseball football qwertyuiop 1234567890 superman 1qaz2wsx trustno1 sunshine iloveyou
computer starwars princess corvette 1234qwer internet samantha q1w2e3r4t5 maverick whatever mercedes steelers
qwer1234 hardcore q1w2e3r4 midnight bigdaddy marlboro password1 1q2w3e4r cocacola jordan23 asdfasdf 12344321
liverpoo qwerty123 passw0rd abcd1234 slipknot scorpion startrek asdfghjkl redskins qazwsxedc liverpool butthead
dolphins qwertyui shithead metallic mountain elephant rush2112 1q2w3e4r5t creative garfield bullshit asdfghjk
1qazxsw2 airborne brooklyn godzilla 4815162342 darkness blink182 platinum 01012011 11223344 lifehack 12qwaszx
snowball nintendo pakistan redwings explorer guinness lasvegas 789456123 christin asdf1234 babygirl michigan
carolina alexande dickhead minecraft metallica snickers paradise 147258369 lacrosse bollocks poohbear qweasdzxc
einstein drowssap spitfire maryjane champion svetlana westside security zaq12wsx 123456789a 1232323q scarface
qwerty12 stargate 12345qwert semperfi scotland cherokee simpsons michael1 vladimir passport infinity bulldogs
1234554321 budlight usuckballz1 softball fktrcfylh kawasaki wildcats logitech swordfis alexandr motorola patriots
colorado juventus freeuser warcraft wolverin elizabet valentin password123 spiderma hello123 ncc1701d pearljam
123qweasd predator charlie1 panthers peekaboo rolltide cardinal chevelle fyfcnfcbz loverboy 123654789 changeme
electric darkside wolfpack hercules letmein1 741852963 spiderman blizzard 123456789q cheyenne cjkysirj 147852369
pussycat a1b2c3d4 airplane freepass billybob chocolat stingray firebird zeppelin tarheels greenday 01011980 engineer
hellfire serenity fireball darkstar 1029384756 mustang1 pavilion 01012000 bobafett dbrnjhbz welcome1 swimming
defender precious icecream swordfish presario rockstar airforce thailand bluebird goldfish wrangler cadillac
longhorn qazwsx123 microsoft christia 123qweasdzxc assassin atlantis lonewolf software srinivas valentina veronika
babydoll butterfly wordpass devildog soso123aljg mistress freedom1 montreal wolfgang basketba hotstuff 31415926
stephani jessica1 shamrock fuckyou2 deftones renegade blahblah enterpri 1234abcd babylon5 sweetpea trfnthbyf
yankees1 bigboobs aardvark butterfl marathon cavalier manchester buckeyes 01011990 diamonds 1qaz2wsx3edc highland
drpepper pornstar 12345678910 sherlock thuglife morpheus wetpussy consumer adgjmptw barcelona overlord sundance
ultimate ncc1701e matthew1 geronimo 123qwe123 aleksandr portugal superfly q1w2e3r4t5y6 wrinkle1 seminole alejandr
11235813 concrete access14 letmein2 christop trombone rhbcnbyf qazxswedc cdtnkfyf stallion kingkong mongoose
bluemoon a1234567 fuckyou1 immortal 123454321 anthony1 dietcoke hollywoo 14789632 bonehead ghbdtnbr charlott
hongkong william1 ilovesex 1123581321 sebastia werewolf lollipop eternity super123 cooldude tottenha stocking
makaveli satan666 verbatim blackcat raistlin qwerty12345 punkrock 01012010 waterloo musicman seinfeld megadeth
gn56gn56 skywalke squirrel wolverine stardust qazwsxed twilight vanhalen intrepid 1234567a punisher showtime
ekaterina 111222333 skittles hannibal thunder1 1q2w3e4r5t6y chelsea1 panasonic sandiego portland blackdog californ
playtime 1a2b3c4d gangster warriors chargers dingdong mushroom crusader dkflbvbh stranger guardian slapshot septembe
147896325 rammstein 123321123 munchkin kittycat 1passwor barcelon coltrane goodluck starcraft katerina shaney14
fuck_inside discover spanking lonestar meridian heather1 stonecol 192837465 lowrider 25802580 richard1 zaq1xsw2
tacobell halflife 123698745 keyboard kangaroo socrates formula1 qwerasdf mailcreated5240 asshole1 fuckface vacation
penguins 12369874 87654321 987654321 9876543210 0987654321 12341234 123123123 12121212 password12 password1!
password! p@ssw0rd p@ssword qwerty1! qwerty123! letmein! letmein123 welcome123 welcome1! admin123 admin1234
administrator changeme123 iloveyou1 iloveyou2 football123 master123 monkey123 dragon123 passwort passwort1
passwort123 hallo123 hallo1234 schalke04 ichliebedich geheim123 woaini1314 woaini520 5201314520 wang1234 aa123456
a12345678 qq123456 abc123456 abcd12345 asd123456 1qaz@wsx 1qaz2wsx3edc4rfv qwe123456 zxc123456 test1234 testtest
hello1234 user1234 root1234 samsung123 google123 pokemon123 computer1 princess1 sunshine1 superman1 baseball1
starwars1
`.split(/\s+/));

/** Returns what is wrong with a password in words, or ''. An empty password is left to the server. */
function weakness(password, account = '') {
	const text = password.normalize('NFC').toLowerCase();
	const name = account.trim().normalize('NFC').toLowerCase();
	if (!text) return '';
	if ([...text].length < SHORTEST) return t('passwordShort', {n: SHORTEST});
	if (name && text.replaceAll(name, '').trim() === '') return t('passwordAccount');
	return COMMON.has(text) || new Set(text).size === 1 ? t('passwordCommon') : '';
}

/** Rejects a weak password in its field. */
export function check(box, account) {
	const words = weakness(box.input.value, account);
	if (words) reject(box, words);
}
