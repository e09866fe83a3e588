package wire

// ProfileFields are the fields of a profile that its user sets. The record of an account has the same fields
// (kv.Profile): Go converts one to the other. A new field is added to both, and to profileFields.
type ProfileFields struct {
	Name     string `json:"name"`
	Picture  string `json:"picture"`
	Sex      string `json:"sex"`
	Birthday string `json:"birthday"`
	Sign     string `json:"sign"`
}

// profileFields declare the fields of a profile, in the order of the JSON, and pointers returns where they are. The
// size of the array keeps the two together.
var profileFields = [...]Field{
	{Name: "name", Kind: Name, Max: MaxName},
	{Name: "picture", Kind: Picture},
	{Name: "sex", Max: MaxSex},
	{Name: "birthday", Max: MaxBirthday},
	{Name: "sign", Kind: Lines, Max: MaxSign},
}

func (p *ProfileFields) pointers() [len(profileFields)]*string {
	return [...]*string{&p.Name, &p.Picture, &p.Sex, &p.Birthday, &p.Sign}
}

// append appends the fields in JSON. It is written out, since a login appends hundreds of profiles.
func (p *ProfileFields) append(dst []byte) []byte {
	dst = appendKey(dst, `,"name":`, p.Name)
	dst = appendKey(dst, `,"picture":`, p.Picture)
	dst = appendKey(dst, `,"sex":`, p.Sex)
	dst = appendKey(dst, `,"birthday":`, p.Birthday)
	return appendKey(dst, `,"sign":`, p.Sign)
}

// ProfileDeclaration returns the fields of a profile, for the declaration of a call that sets them.
func ProfileDeclaration() []Field { return profileFields[:] }

// SetProfile sets the fields of a profile that a call gives.
func (v Values) SetProfile(p *ProfileFields) {
	for i, field := range p.pointers() {
		if s, given := v.Lookup(profileFields[i].Name); given {
			*field = s
		}
	}
}

// A Profile is the public part of an account.
type Profile struct {
	ID string `json:"id"`
	ProfileFields
}

// Append appends the profile to dst as a JSON object.
func (p Profile) Append(dst []byte) []byte {
	dst = append(dst, '{')
	dst = p.appendKeys(dst)
	return append(dst, '}')
}

func (p *Profile) appendKeys(dst []byte) []byte {
	return p.ProfileFields.append(appendKey(dst, `"id":`, p.ID))
}
