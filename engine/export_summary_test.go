package engine

import (
	"context"

	"alcove/tenancy"
)

// SummaryTexts is what the stored summaries of a base say.
func SummaryTexts(s *tenancy.Space) (texts []string, err error) {
	err = s.View(context.Background(), func(tx *tenancy.Tx) error {
		return tx.Scan(kindSummary, tenancy.Scan{}, func(_, value []byte) error {
			texts = append(texts, string(value[8:]))
			return nil
		})
	})
	return texts, err
}

// StoredSummaries is the number of records of summaries in the store.
func StoredSummaries(s *tenancy.Space) (int, error) {
	texts, err := SummaryTexts(s)
	return len(texts), err
}
