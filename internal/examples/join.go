package examples

import "errors"

// Join is a customisation's rows with those of a file (nil: none), checked and
// labelled as one file: labels is the set that the rows were given, nil if it
// was found in their answers and may have changed.
func Join(name string, rows []Example, added *Set, labels []string) (*Set, error) {
	p := &reader{name: name}
	for i, e := range rows {
		if e.Line = i + 1; labels != nil {
			e.Choices = nil
		}
		p.out = append(p.out, e)
	}
	if added != nil {
		p.name = added.Source
		for _, e := range added.Examples {
			if added.Inferred || labels != nil {
				e.Choices = nil // the labels of a few rows alone
			}
			p.out = append(p.out, e)
		}
	}
	if len(p.out) > MaxRows {
		return nil, p.fail(0, errors.New("too many rows together"), "keep those that show what you want")
	}
	set := &Set{Source: p.name}
	var err error
	if set.Examples, set.Duplicates, err = p.unique(); err != nil {
		return nil, err
	}
	if len(set.Examples) == 0 {
		return nil, p.fail(0, errors.New("no example is left"), "crayon rm "+name)
	}
	if err := p.label(set, Options{Labels: labels}); err != nil {
		return nil, err
	}
	return set, nil
}
