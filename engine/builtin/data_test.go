package builtin_test

type passage struct {
	ID, Title, Text string
}

type question struct {
	ID, Question, Answer string
	Aliases              []string `json:"answer_aliases"`
	Gold                 []string `json:"gold_doc_ids"`
	Candidates           []string `json:"candidate_doc_ids"`
}
