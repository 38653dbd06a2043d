// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package web

import (
	"net/http"

	"github.com/rightimage/packer-plugin-rightimage/platform/access"
)

// Who may open a page, besides the roles of package access.
const (
	anyone access.Role = ""
	person access.Role = "person" // whoever has logged in
)

// route is a line of the authorisation table. A page that is not in it does not
// exist.
type route struct {
	method string
	path   string // below Base
	need   access.Role
	handle func(*call) error
}

// routes is the table of contents of the dashboard, with the role that each
// page needs.
//
//nolint:funlen // a table
func routes() []route {
	const get, post = http.MethodGet, http.MethodPost
	return []route{
		{get, "/static/{file}", anyone, (*call).static},
		{get, "/login", anyone, (*call).loginForm},
		{post, "/login", anyone, (*call).login},
		{post, "/logout", person, (*call).logout},
		{get, "/me", person, (*call).me},
		{post, "/me/password", person, (*call).changePassword},
		{post, "/me/account", person, (*call).changeAccount},

		{get, "/", access.Observer, (*call).overview},
		{get, "/servers", access.Observer, (*call).servers},
		{get, "/servers/{id}", access.Observer, (*call).server},
		{get, "/servers/new", access.Actor, (*call).newServer},
		{post, "/servers", access.Actor, (*call).createServer},
		{get, "/servers/{id}/launch", access.Actor, (*call).launchForm},
		{post, "/servers/{id}/launch", access.Actor, (*call).launch},
		{get, "/servers/{id}/inputs", access.Actor, (*call).inputsForm},
		{post, "/servers/{id}/inputs", access.Actor, (*call).setInputs},
		{get, "/servers/{id}/settings", access.Actor, (*call).settingsForm},
		{post, "/servers/{id}/settings", access.Actor, (*call).setSettings},
		{get, "/servers/{id}/user-data", access.Actor, (*call).userDataForm},
		{post, "/servers/{id}/user-data", access.Actor, (*call).userData},
		{get, "/servers/{id}/{action}", access.Actor, (*call).confirm},
		{post, "/servers/{id}/{action}", access.Actor, (*call).act},
		{post, "/servers/{id}/tags", access.Actor, (*call).tag},
		{get, "/run", access.Actor, (*call).runForm},
		{post, "/run", access.Actor, (*call).run},

		{get, "/deployments", access.Observer, (*call).deployments},
		{post, "/deployments", access.Actor, (*call).createDeployment},
		{get, "/deployments/{id}", access.Observer, (*call).deployment},
		{post, "/deployments/{id}", access.Actor, (*call).setDeployment},
		{get, "/deployments/{id}/delete", access.Actor, (*call).confirmDeleteDeployment},
		{post, "/deployments/{id}/delete", access.Actor, (*call).deleteDeployment},

		{get, "/arrays", access.Observer, (*call).arrays},
		{post, "/arrays", access.Actor, (*call).createArray},
		{get, "/arrays/{id}", access.Observer, (*call).array},
		{post, "/arrays/{id}", access.Actor, (*call).setArray},
		{get, "/arrays/{id}/{action}", access.Actor, (*call).confirmArray},
		{post, "/arrays/{id}/{action}", access.Actor, (*call).actArray},

		{get, "/instances", access.Observer, (*call).instances},
		{get, "/instances/{uid}", access.Observer, (*call).instance},
		{get, "/instances/{uid}/{action}", access.Actor, (*call).confirmRaw},
		{post, "/instances/{uid}/{action}", access.Actor, (*call).actRaw},

		{get, "/templates", access.Observer, (*call).templates},
		{get, "/templates/{id}", access.Observer, (*call).template},
		{post, "/templates/{id}/scripts", access.Designer, (*call).changeBindings},
		{get, "/scripts/{id}", access.Observer, (*call).script},
		{get, "/images", access.Observer, (*call).images},
		{get, "/multi-cloud-images", access.Observer, (*call).multiCloudImages},
		{get, "/multi-cloud-images/{id}", access.Observer, (*call).multiCloudImage},

		{get, "/clouds", access.Observer, (*call).clouds},
		{post, "/clouds", access.Admin, (*call).addCloud},
		{get, "/clouds/{id}", access.Observer, (*call).cloud},
		{post, "/clouds/{id}", access.Admin, (*call).setCloud},
		{get, "/clouds/{id}/remove", access.Admin, (*call).confirmRemoveCloud},
		{post, "/clouds/{id}/remove", access.Admin, (*call).removeCloud},

		{get, "/audit", access.Observer, (*call).audit},
		{get, "/audit/{id}", access.Observer, (*call).auditEntry},
		{get, "/audit/{id}/tail", access.Observer, (*call).auditTail},
		{get, "/audit/{id}/text", access.Observer, (*call).auditText},

		{get, "/credentials", access.Observer, (*call).credentials},
		{post, "/credentials", access.Actor, (*call).setCredential},
		{get, "/credentials/{id}/remove", access.Actor, (*call).confirmRemoveCredential},
		{post, "/credentials/{id}/remove", access.Actor, (*call).removeCredential},

		{get, "/users", access.Admin, (*call).users},
		{post, "/users", access.Admin, (*call).addUser},
		{get, "/users/{id}", access.Admin, (*call).user},
		{post, "/users/{id}/roles", access.Admin, (*call).setRoles},
		{post, "/users/{id}/password", access.Admin, (*call).setPassword},
		{get, "/users/{id}/remove", access.Admin, (*call).confirmRemoveUser},
		{post, "/users/{id}/remove", access.Admin, (*call).removeUser},
	}
}
