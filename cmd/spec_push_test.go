package cmd

import "strings"

// pushFields returns the body of a call that adds a subscription.
func pushFields(id, token string, more ...string) string {
	return fields(append([]string{"id", id, "token", token, "endpoint", "https://push.example.org/v2/abc",
		"p256dh", "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4", "auth", "BTBZMqHH6r4Tts7J_aSIgg"}, more...)...)
}

// pushes returns the calls for push messages.
func (a *openAPI) pushes(me *member) []exchange {
	never := strings.Repeat("0", 32)
	key := func(code int, pairs ...string) exchange {
		return exchange{path: "/im/push?" + query(pairs...), code: code}
	}
	all := []exchange{key(200, "id", me.id, "token", me.token), key(403, "id", "a\x00b", "token", me.token), key(514, "id", me.id), key(517, "token", me.token), key(515, "id", me.id, "token", never)}
	for path, body := range map[string]func(id, token string) string{
		"/im/push/add": func(id, token string) string { return pushFields(id, token, "text", "true", "language", "en") },
		"/im/push/remove": func(id, token string) string {
			return fields("id", id, "token", token, "endpoint", "https://push.example.org/v2/abc")
		},
	} {
		row := func(body string, code int) exchange { return exchange{path: path, body: body, code: code} }
		all = append(all, row(body(me.id, me.token), 200), row(body(me.id, never), 515), row(body(me.id, ""), 514), row(body("", me.token), 517), row(fields("id", me.id, "token", me.token), 403),
			exchange{path: path, body: strings.TrimSuffix(body(me.id, me.token), "}") + `,"more":"` + strings.Repeat("A", 256<<10) + `"}`, code: 403, status: 413})
	}
	for _, wrong := range []string{"http://push.example.org/", "https://127.0.0.1/", "https://[::1]/"} {
		all = append(all, exchange{path: "/im/push/add", body: strings.Replace(pushFields(me.id, me.token), "https://push.example.org/v2/abc", wrong, 1), code: 403, beyond: true})
	}
	return append(all, exchange{path: "/im/push/add", body: strings.Replace(pushFields(me.id, me.token), "BCVx", "AAAA", 1), code: 403, beyond: true})
}
