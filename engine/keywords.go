package engine

// questionKeywords makes LightRAG's two levels of keywords by rules. Low are the
// names of the question in its order, known to the base or written as names, then
// the rare words among the rest; high are the other words: those of the relation
// table first, which say what is asked about the names.
func questionKeywords(r *sight, text string, words []questionWord, seeds []seed) Keywords {
	k := Keywords{High: []string{}, Low: []string{}}
	seen := map[string]bool{}
	add := func(list *[]string, w string) {
		if w != "" && !seen[w] {
			seen[w] = true
			*list = append(*list, w)
		}
	}
	surface := make(map[int]string, len(seeds))
	for _, s := range seeds {
		surface[s.at] = s.surface
	}
	var rare, common []string
	for i := 0; i < len(words); i++ {
		w := words[i]
		if w.used {
			add(&k.Low, surface[i])
			continue
		}
		if functionWords[w.key] || digits(w.key) || notNames[w.key] && relationGroup[w.key] == nil {
			continue
		}
		last := i
		for w.proper && last+1 < len(words) && words[last+1].proper && !words[last+1].used && !words[last+1].broken {
			last++
		}
		switch {
		case w.proper && (i > 0 || last > i): // the first word has its capital from its place
			add(&k.Low, unpossess(text[w.start:words[last].end]))
			i = last
		case relationGroup[w.key] != nil:
			add(&k.High, w.key)
		default:
			if t, ok := r.part.Term(w.stem); ok && r.part.Frequency(t) <= rareFrequency {
				rare = append(rare, w.key)
			} else {
				common = append(common, w.key)
			}
		}
	}
	for _, w := range rare {
		add(&k.Low, w)
	}
	for _, w := range common {
		add(&k.High, w)
	}
	return k
}
