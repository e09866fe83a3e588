package admin

import (
	"context"

	"imctl/kv"
)

// WithAccount returns the users whose record has this account, ignoring case, even if the claim of the account does
// not refer to them. It reads the whole list: call it only if the claim refers to no user.
func (c *Client) WithAccount(ctx context.Context, account string) ([]User, error) {
	folded := kv.FoldAccount(account)
	var found []User
	seen := make(map[string]bool) // a user that changes meanwhile is listed twice
	for page, err := range c.AllUsers(ctx, ListUsers{Begins: account}) {
		if err != nil {
			return nil, err
		}
		for _, u := range page {
			if kv.FoldAccount(u.Account) == folded && !seen[u.ID] {
				seen[u.ID] = true
				found = append(found, u)
			}
		}
	}
	return found, nil
}
