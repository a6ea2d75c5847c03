package builtin

import "strings"

// English word lists of the rules. A text in another language loses what they
// tell, names and sentences aside.

func set(words string) map[string]bool {
	m := map[string]bool{}
	for w := range strings.FieldsSeq(words) {
		m[w] = true
	}
	return m
}

// byKind reads lines of "kind: word word ...".
func byKind(lines string) map[string]kind {
	names := map[string]kind{}
	for k := concept; k < kinds; k++ {
		names[k.String()] = k
	}
	m := map[string]kind{}
	for line := range strings.Lines(lines) {
		name, words, ok := strings.Cut(strings.TrimSpace(line), ":")
		if !ok {
			continue
		}
		for w := range strings.FieldsSeq(words) {
			m[w] = names[name]
		}
	}
	return m
}

var (
	// nouns say what a thing is, in the singular, after "is a" or before a name.
	nouns = byKind(`
		person: actor actress politician writer author poet novelist journalist editor painter artist sculptor architect musician singer songwriter composer guitarist drummer pianist rapper conductor dancer choreographer director producer screenwriter filmmaker cinematographer comedian model king queen prince princess duke duchess emperor empress count countess earl baron baroness lord lady monarch ruler sultan caliph pope bishop archbishop cardinal priest monk nun saint theologian philosopher historian scientist physicist chemist biologist mathematician astronomer geologist economist psychologist engineer inventor physician doctor surgeon nurse lawyer judge attorney jurist teacher professor scholar academic lecturer soldier officer general admiral commander colonel captain president minister senator governor mayor chancellor ambassador diplomat activist businessman businesswoman entrepreneur executive founder ceo chairman footballer player cricketer boxer wrestler swimmer cyclist runner athlete golfer goalkeeper midfielder striker defender coach manager referee explorer pilot astronaut son daughter father mother brother sister wife husband widow man woman member leader nobleman noblewoman figure
		organization: company corporation firm manufacturer bank university college school academy institute institution organization organisation agency authority ministry department bureau party union association society federation league club team band orchestra ensemble choir label publisher newspaper broadcaster network station studio airline hospital museum church order army navy regiment battalion squadron committee council commission parliament congress court government foundation charity brand retailer supplier startup group
		location: city town village hamlet municipality commune district county province state country nation republic kingdom empire region territory island peninsula continent river lake mountain hill valley bay gulf sea ocean strait desert forest park street road neighborhood neighbourhood suburb borough parish settlement capital port harbour airport castle palace fortress place area community township census-designated
		event: war battle siege revolution rebellion uprising massacre election referendum tournament championship competition olympics festival ceremony conference summit earthquake flood hurricane disaster crisis race match season coup
		content: film movie documentary novel book play poem album song single ep series sitcom opera musical magazine journal newspaper episode soundtrack comic manga anime painting trilogy essay article treaty law act regulation directive constitution programme report manual specification standard
		creature: species genus animal bird fish insect beetle moth dog horse breed plant tree mammal snake spider
		method: method algorithm technique procedure process approach protocol framework strategy
		data: dataset database corpus statistic metric index
		artifact: ship vessel aircraft airplane locomotive car vehicle engine weapon rifle missile satellite spacecraft telescope software program application tool library device machine instrument drug computer game browser server bridge building tower monument
		naturalobject: star planet moon asteroid comet galaxy mineral element compound gas rock protein gene
	`)

	// openings, endings and inside are words of a name that tell what it names.
	openings = byKind(`
		organization: university ministry department bank institute academy bureau college
		location: lake mount river gulf isle port fort cape republic kingdom county saint-denis
		event: battle siege
		content: treaty constitution article annex chapter section appendix recital part figure table volume title paragraph
	`)
	endings = byKind(`
		organization: inc ltd llc plc corp company corporation university college school institute academy bank party club fc cf sc afc band orchestra records recordings pictures studios entertainment group association society federation committee council ministry department agency bureau army navy union league team press commission authority parliament congress court foundation museum hospital church airlines airways industries systems technologies partners brothers
		location: river lake mountain mountains island islands county province state city street road avenue valley park airport castle palace sea ocean bay village district region township peninsula desert forest beach hill hills square station cathedral abbey parish empire kingdom republic
		event: war wars olympics championship championships cup festival election elections revolution conference games tournament prix massacre uprising rebellion crisis awards crusade
		content: act regulation directive treaty magazine journal gazette trilogy soundtrack
		method: algorithm method
		artifact: bridge tower engine
	`)
	inside = byKind(`
		event: war olympics
	`)

	// titles stand before a person's name.
	titles = set(`sir dame dr mr mrs ms prof professor lord lady king queen prince princess president general captain
		colonel major pope emperor empress count countess duke duchess baron baroness bishop archbishop cardinal sultan
		senator judge chancellor admiral lieutenant sergeant father mother sister brother saint st`)
	kin = set(`son daughter father mother brother sister wife husband widow grandson granddaughter nephew niece uncle
		aunt cousin child children sons daughters successor heir reign death life marriage`)
	byPerson = set(`directed written produced composed painted performed sung designed edited founded invented discovered
		created recorded played succeeded preceded defeated killed portrayed narrated hosted led`)
	atPlace = set(`born died buried lived lives living located situated based held raised educated settled moved returned
		travelled traveled arrived headquartered city town village county district station died exile`)

	// phraseEnds close the noun phrase that says what a thing is.
	phraseEnds = set(`of in by who which that for from with to and or at on as whose where when based set directed written
		produced released published located situated known born was is are were has had after before during near
		between under starring about using used made created founded developed composed`)

	calendar = set(`january february march april may june july august september october november december monday tuesday
		wednesday thursday friday saturday sunday spring summer autumn winter`)
	demonyms = set(`american british english scottish welsh irish french german italian spanish portuguese dutch belgian
		swiss austrian polish czech hungarian romanian bulgarian greek turkish russian ukrainian swedish norwegian danish
		finnish icelandic estonian latvian lithuanian canadian mexican brazilian argentine chilean peruvian colombian
		cuban australian chinese japanese korean indian pakistani iranian persian iraqi israeli jewish arab arabic
		egyptian african asian european latin roman christian catholic protestant muslim islamic hindu buddhist
		croatian serbian slovak slovenian albanian armenian georgian indonesian filipino vietnamese thai nigerian`)

	// openers are ordinary words that often open a sentence; ordinaryEndings are
	// what many more of them end with.
	openers = set(`note see use add set run make let given please click select example examples figure table chapter
		section sections part people men women children users user data results result today tomorrow yesterday
		nothing something everything anything nobody somebody everybody everyone someone anyone neither either few
		much little enough often sometimes always never again perhaps maybe indeed instead moreover furthermore
		nevertheless nonetheless meanwhile otherwise therefore hence besides whereas whether whenever wherever ever
		above below behind beside beyond inside outside across along near next last long back down up out off away
		now soon yet already too very well good great new old same different certain various every any none half
		must shall cannot don't doesn't didn't isn't aren't wasn't weren't won't can't couldn't it's that's there's
		he's she's they're we're you're i'm i've let's what's dear oh ah yes hello thanks thank look come go get take
		give keep put tell say said know think want need try ask work works time times day days year years way ways
		things thing life world members others critics scientists researchers students teachers parents workers
		officials police experts companies countries states cities studies reports figures rules questions answers`)
	ordinaryEndings = []string{"ing", "ly", "ed", "tion", "tions", "ment", "ments", "ness", "ity", "ities", "ous", "able", "ible", "ful", "less"}

	// light words carry nothing as a keyword or in a noun phrase.
	light = set(`been being am im can could may might must shall should would will ought such other others another any
		all each every some many much most more less few several various certain same different own only also just even
		still yet already again once ever never often always sometimes then than too very well quite rather almost
		about above across after against along among around at before behind below beneath beside between beyond by
		despite down during except for from in inside into like near of off on onto out outside over past since
		through throughout till to toward towards under until up upon via with within without while whereas although
		though because if unless whether nor but and or so both either neither not no none one two three four five six
		seven eight nine ten first second third last next former latter new old good great large small long short high
		low its it's their them they themselves himself herself itself myself yourself us me my mine your yours our
		ours her hers him his he she who whom whose which what when where why how this that these those there here
		is are was were be has have had having do does did done doing get gets got make makes made take takes took
		give gives given gave go goes went gone come comes came become becomes became use uses used using say says
		said see seen know known call called include includes including included keep kept let put set show shows
		shown want need needs work works way ways thing things kind kinds sort lot lots part time times day days year
		years people etc however therefore thus hence instead moreover only per vs`)

	// places are names that need no cue.
	places = countries(`afghanistan albania algeria angola argentina armenia australia austria azerbaijan bahrain
		bangladesh belarus belgium bolivia bosnia botswana brazil bulgaria burma cambodia cameroon canada chad chile china
		colombia congo croatia cuba cyprus denmark ecuador egypt eritrea estonia ethiopia fiji finland france gabon
		germany ghana greece guatemala guinea guyana haiti honduras hungary iceland india indonesia iran iraq ireland
		israel italy jamaica japan kazakhstan kenya kosovo kuwait kyrgyzstan laos latvia lebanon lesotho liberia libya
		lithuania luxembourg macedonia madagascar malawi malaysia mali malta mexico moldova monaco mongolia montenegro
		morocco mozambique myanmar namibia nepal netherlands nicaragua niger nigeria norway oman pakistan palestine
		panama paraguay peru philippines poland portugal qatar romania russia rwanda senegal serbia singapore slovakia
		slovenia somalia spain sudan sweden switzerland syria taiwan tajikistan tanzania thailand tibet togo tunisia turkey
		turkmenistan uganda ukraine uruguay uzbekistan venezuela vietnam yemen zambia zimbabwe england scotland wales
		britain europe asia africa america antarctica bavaria prussia saxony tuscany sicily normandy brittany catalonia
		california texas florida ohio michigan illinois pennsylvania virginia massachusetts oregon nevada arizona utah
		colorado kansas nebraska iowa missouri minnesota wisconsin indiana kentucky tennessee alabama louisiana
		oklahoma arkansas maryland delaware connecticut vermont maine hawaii alaska idaho montana wyoming quebec ontario
		london paris berlin vienna rome madrid lisbon moscow beijing tokyo delhi mumbai cairo athens dublin edinburgh
		budapest prague warsaw brussels amsterdam copenhagen stockholm oslo helsinki chicago boston philadelphia
		toronto montreal vancouver melbourne istanbul baghdad tehran jerusalem munich hamburg milan naples venice
		florence barcelona shanghai manila jakarta bangkok seoul`,
		"united states", "united states of america", "united kingdom", "european union", "soviet union", "new zealand", "south africa",
		"south korea", "north korea", "saudi arabia", "sri lanka", "costa rica", "el salvador", "puerto rico", "hong kong",
		"new york", "new york city", "los angeles", "san francisco", "new jersey", "new mexico", "north carolina",
		"south carolina", "north dakota", "south dakota", "west virginia", "rhode island", "new hampshire",
		"washington d c", "st petersburg", "czech republic", "north america", "south america", "latin america",
		"middle east", "british columbia", "nova scotia", "new south wales", "great britain", "northern ireland")
)

func countries(single string, more ...string) map[string]bool {
	m := set(single)
	for _, w := range more {
		m[w] = true
	}
	return m
}
