package oracle

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"

	"crayon/internal/fault"
	"crayon/internal/qa"
	"crayon/internal/task"
	"crayon/internal/tokenizer"
)

// The length of a passage in tokens.
const (
	leastPassage = 256
	mostPassage  = 512
)

// Passages are texts made of a data folder's rows: conversations of one
// question and its answer each, several one after the other.
type Passages struct {
	Texts  [][]int32      // each leastPassage to mostPassage tokens
	Tokens int            // in all
	Rows   map[string]int // used of each data set
}

// NewPassages draws rows from the evaluation split of every data set in turn,
// until there are at least the given number of tokens. The same seed draws the
// same rows. A row whose conversation does not fit a passage is left out.
func NewPassages(t *tokenizer.Tokenizer, data *qa.Data, tokens int, seed uint64) (*Passages, error) {
	bad := func(err error) error {
		return &fault.Error{Op: "make text of the data", Err: err, Exit: fault.ExitUsage}
	}
	c, err := newChatML(t)
	if err != nil {
		return nil, bad(err)
	}
	decks, err := shuffled(data, seed)
	if err != nil {
		return nil, err
	}
	p := &Passages{Rows: map[string]int{}}
	var passage []int32
	for left := true; left; {
		left = false
		for i, deck := range decks {
			if len(deck) == 0 {
				continue
			}
			left = true
			row := deck[0]
			decks[i] = deck[1:]
			next := c.turn(nil, "user", task.Text(row.Question, row.Context, row.Choices))
			next = c.turn(next, "assistant", row.Gold())
			if len(passage)+len(next) > mostPassage {
				continue
			}
			passage = append(passage, next...)
			p.Rows[row.Dataset]++
			if len(passage) < leastPassage {
				continue
			}
			p.Texts, p.Tokens = append(p.Texts, passage), p.Tokens+len(passage)
			passage = nil
			if p.Tokens >= tokens {
				return p, nil
			}
		}
	}
	return nil, bad(fmt.Errorf("the data has %d tokens of text, %d are wanted", p.Tokens, tokens))
}

// shuffled is the evaluation rows of every data set, each in an order that
// depends on the seed and the set's name alone.
func shuffled(data *qa.Data, seed uint64) ([][]qa.Row, error) {
	var decks [][]qa.Row
	for _, name := range data.Datasets() {
		split, err := data.EvalSplit(name)
		if err != nil {
			return nil, err
		}
		rows, err := data.All(name, split)
		if err != nil {
			return nil, err
		}
		h := fnv.New64a()
		h.Write([]byte(name)) // never fails
		rand.New(rand.NewPCG(seed, h.Sum64())).Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
		decks = append(decks, rows)
	}
	return decks, nil
}
