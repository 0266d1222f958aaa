package pooltrain

import (
	"math/rand/v2"
	"slices"
	"strings"

	"crayon/internal/qa"
)

// topicSubject names the label tasks that topics makes, among a data set's subjects.
const topicSubject = "subject of the question"

// fewestTopics is how many subjects make a label task.
const fewestTopics = 4

// topics are label tasks made of rows: which of its data set's subjects a
// question is about. Data seldom has label tasks of many labels, and a pool that
// saw none answers none. A share of the rows is taken, by the seed.
func topics(rows []qa.Labelled, share float64, seed uint64) []qa.Labelled {
	if share == 0 {
		return nil
	}
	subjects := map[string][]string{}
	for i := range rows {
		if r := &rows[i]; r.Subject != "" && !slices.Contains(subjects[r.Dataset], spoken(r.Subject)) {
			subjects[r.Dataset] = append(subjects[r.Dataset], spoken(r.Subject))
		}
	}
	for _, names := range subjects {
		slices.Sort(names)
	}
	var out []qa.Labelled
	for i := range rows {
		r := rows[i].Row
		names := subjects[r.Dataset]
		rng := rand.New(rand.NewPCG(seed, extras+extras/2+uint64(i)))
		if r.Subject == "" || len(names) < fewestTopics || rng.Float64() >= share {
			continue
		}
		r.Answer, r.Choices = slices.Index(names, spoken(r.Subject)), names
		r.Subject, r.ID = topicSubject, r.ID+" subject"
		out = append(out, qa.Labelled{Row: r, Labels: names})
	}
	return out
}

// spoken is a subject's name as words.
func spoken(subject string) string {
	return strings.Join(strings.FieldsFunc(subject, func(c rune) bool { return c == '_' || c == '-' || c == ' ' }), " ")
}
