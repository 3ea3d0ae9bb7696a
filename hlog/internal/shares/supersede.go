package shares

import (
	"context"

	"github.com/hybridlog/hybridlog/index"
)

// Supersede notes which of questions, which it sorts, are of dead records. A share that cannot be read answers
// none. turn is called between two shares.
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
		d.look(r, func(share *index.Share) { _ = a.Of(ctx, share, questions) })
		if err := turn(ctx); err != nil {
			return err
		}
	}
	return nil
}
