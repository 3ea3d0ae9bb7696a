package shares

import (
	"context"

	"github.com/hybridlog/hybridlog/index"
)

// Supersede notes which of questions, which it sorts, are of dead records. A share that cannot be read answers none: what is in it
// is the business of those who need it. turn is called between two shares.
func (d *Index) Supersede(ctx context.Context, questions []index.Question, turn func(ctx context.Context) error) error {
	if len(questions) == 0 {
		return nil
	}
	index.SortQuestions(questions)
	oldest := questions[0].At
	for i := range questions {
		oldest = min(oldest, questions[i].At)
	}
	var a index.Answers
	for _, r := range d.Telling(oldest) {
		f, err := d.Open(r)
		if err != nil {
			continue
		}
		if share, err := index.OpenShare(f, r); err == nil {
			_ = a.Of(ctx, share, questions)
		}
		f.Close()
		if err := turn(ctx); err != nil {
			return err
		}
	}
	return nil
}
