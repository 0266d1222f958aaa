package benchhybrid

import (
	"encoding/json"
	"math"
	"strings"
	"unicode"
	"unicode/utf8"

	"crayon/internal/task"
)

// letters name the choices in a prompt; a row with more has no prompt.
const letters = task.Letters

const instruction = "Answer the multiple-choice question with the letter of the right choice, and nothing else."

// answerTokens is how long the server's answer may be: a letter, and what some
// put before it.
const answerTokens = 2

// mostLikely is how many tokens' log-probabilities are asked for; OpenAI's most.
const mostLikely = 20

type message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// body is a chat request for one query after the user's first shots examples,
// without a model. ok is false where the choices have no letters. Equal queries
// give equal bytes; a user's queries begin alike.
func body(p *Part, q *Observed, shots int, logProbs bool) (out []byte, ok bool, err error) {
	if len(q.Choices) > len(letters) {
		return nil, false, nil
	}
	msgs := []message{{"system", instruction}}
	for _, e := range p.Examples[:min(shots, len(p.Examples))] {
		if len(e.Choices) < 2 || len(e.Choices) > len(letters) {
			continue
		}
		msgs = append(msgs, message{"user", task.Lettered(e.Question, e.Context, e.Choices)}, message{"assistant", letters[e.Answer : e.Answer+1]})
	}
	msgs = append(msgs, message{"user", task.Lettered(q.Question, q.Context, q.Choices)})
	r := struct {
		Messages    []message `json:"messages"`
		MaxTokens   int       `json:"max_tokens"`
		Temperature float64   `json:"temperature"`
		LogProbs    bool      `json:"logprobs,omitempty"`
		Top         int       `json:"top_logprobs,omitempty"`
	}{msgs, answerTokens, 0, logProbs, 0}
	if logProbs {
		r.Top = mostLikely
	}
	out, err = json.Marshal(r)
	return out, true, err
}

// unparsable is the pick of an answer that names no choice; it is wrong.
const unparsable = -1

// firstLetter is the choice that an answer begins with: a letter that stands
// alone, after nothing but signs.
func firstLetter(text string, choices int) int {
	text = strings.TrimLeftFunc(text, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
	if text == "" {
		return unparsable
	}
	i := strings.IndexByte(letters[:choices], text[0])
	if next, _ := utf8.DecodeRuneInString(text[1:]); len(text) > 1 && (unicode.IsLetter(next) || unicode.IsDigit(next)) {
		return unparsable
	}
	return i
}

// Likely is a token with its log-probability.
type Likely struct {
	Token   string  `json:"token"`
	LogProb float64 `json:"logprob"`
}

// likeliestLetter is the choice whose letter has the largest log-probability as
// the answer's first token; of several tokens that are one letter the likeliest
// counts.
func likeliestLetter(top []Likely, choices int) int {
	best, at := math.Inf(-1), unparsable
	for _, t := range top {
		token := strings.TrimSpace(t.Token)
		if len(token) != 1 || !(t.LogProb > best) {
			continue
		}
		if i := strings.IndexByte(letters[:choices], token[0]); i >= 0 {
			best, at = t.LogProb, i
		}
	}
	return at
}
