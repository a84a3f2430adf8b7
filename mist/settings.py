"""All settings. The environment is read here, once; the README lists the variables with these defaults."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from mist import env
from mist.pool import POOL

BASE_DIR = Path(__file__).resolve().parent.parent

# --- what the environment may say ------------------------------------------------------------------------------------

MIST_HOME = env.path("MIST_HOME", BASE_DIR / "var")  # all data: database, recordings, keys, mail, logs
MIST_BIND = env.text("MIST_BIND", "127.0.0.1")  # the address the web process listens on; 0.0.0.0 is everybody's
MIST_PORT = env.integer("MIST_PORT", 8000)
MIST_PUBLIC_URL = env.url("MIST_PUBLIC_URL", f"http://localhost:{MIST_PORT}")  # what people type: links, passkeys, allowed host
MIST_ADMIN_EMAIL = env.text("MIST_ADMIN_EMAIL", "admin@localhost")  # the first admin, made on the first start
MIST_ADMIN_PASSWORD = env.text("MIST_ADMIN_PASSWORD")  # empty: one is generated, for one use
MIST_OPENSEARCH_URL = env.url("MIST_OPENSEARCH_URL")  # empty: PostgreSQL searches the audit log alone
MIST_ALLOW_PRIVATE_HOSTS = env.flag("MIST_ALLOW_PRIVATE_HOSTS", True)  # may clouds and machines have private addresses?
MIST_SIGN_UP = env.flag("MIST_SIGN_UP", False)  # may strangers make accounts? Otherwise people are invited
MIST_API_PER_MINUTE = env.integer("MIST_API_PER_MINUTE", 6000)  # requests of one token or person; 0: any number
MIST_METRICS_TOKEN = env.text("MIST_METRICS_TOKEN")  # empty: /metrics answers local callers only
MIST_TRUSTED_PROXIES = env.text("MIST_TRUSTED_PROXIES", "127.0.0.1")  # whose X-Forwarded-For and -Proto are believed
MIST_EVENTS_KEEP_DAYS = env.integer("MIST_EVENTS_KEEP_DAYS", 0)  # of the audit log, by whole months; 0: for ever
MIST_HISTORY_KEEP_DAYS = env.integer("MIST_HISTORY_KEEP_DAYS", 400)  # of rows as they were (`at=`); 0: for ever
MIST_RECORDINGS = env.path("MIST_RECORDINGS", MIST_HOME / "recordings")  # of shells; web, shell and scheduler share it
MIST_RECORDINGS_KEEP_DAYS = env.integer("MIST_RECORDINGS_KEEP_DAYS", 180)  # 0: for ever
MIST_RECORDING_MIB = env.integer("MIST_RECORDING_MIB", 1024)  # the longest; a shell that reaches it ends
MIST_EXPORTS = env.path("MIST_EXPORTS", MIST_HOME / "exports")  # files of long lists, kept for a day; web, worker and scheduler share it
MIST_EXPORTS_MIB = env.integer("MIST_EXPORTS_MIB", 2048)  # of them, an organization
MIST_SHELL_IDLE_MINUTES = env.integer("MIST_SHELL_IDLE_MINUTES", 30)  # without a key, then a shell ends
MIST_SHELL_HOURS = env.integer("MIST_SHELL_HOURS", 12)  # in all
MIST_SHELL_PROCESSES = env.integer("MIST_SHELL_PROCESSES", 1)  # that hold shells
MIST_SHELL_BIND = env.text("MIST_SHELL_BIND")  # with --role shell: where web reaches it, address:port; else a unix socket
MIST_SHELL_ADDRESS = env.text("MIST_SHELL_ADDRESS", MIST_SHELL_BIND)  # what web dials for that, as a pod's own address
MIST_SHELL_DRAIN_S = env.integer("MIST_SHELL_DRAIN_S", 3)  # what is left to shells whose process is told to stop
MIST_UPLOAD_MIB = env.integer("MIST_UPLOAD_MIB", 1024)  # of one file that is sent into a machine through a shell
MIST_PLAYBOOKS_TRUSTED = env.flag("MIST_PLAYBOOKS_TRUSTED", False)  # run playbooks as Mist itself, where they cannot be confined
MIST_LOG_FORMAT = env.text("MIST_LOG_FORMAT", "text")  # text or json
MIST_LOG_LEVEL = env.text("MIST_LOG_LEVEL", "INFO")
DEBUG = env.flag("MIST_DEBUG", False)  # developers only
STYLEGUIDE = DEBUG  # /styleguide

SECRET_KEY_FILE = env.path("MIST_SECRET_KEY_FILE", MIST_HOME / "secret.key")  # signs sessions, links; made on the first start
VAULT_KEYS_FILE = env.path("MIST_VAULT_KEYS_FILE", MIST_HOME / "vault.keys")  # encrypt credentials, newest first; likewise
SECRET_KEY, *SECRET_KEY_FALLBACKS = env.key_file(SECRET_KEY_FILE)
MIST_VAULT_KEYS = env.key_file(VAULT_KEYS_FILE)
AUDIT_KEYS_FILE = env.path("MIST_AUDIT_KEYS_FILE", MIST_HOME / "audit.keys")  # sign the audit log's checkpoints; likewise
MIST_AUDIT_KEYS = env.key_file(AUDIT_KEYS_FILE)

SOCKET_DIR = env.socket_dir(MIST_HOME)
MIST_DATABASE_URL = env.text("MIST_DATABASE_URL")  # empty: the embedded PostgreSQL
MIST_REDIS_URL = env.text("MIST_REDIS_URL", f"unix://{SOCKET_DIR}/valkey.sock")  # by default the embedded Valkey
EMBEDDED_POSTGRES = not MIST_DATABASE_URL
EMBEDDED_VALKEY = not env.text("MIST_REDIS_URL")

# --- Django ----------------------------------------------------------------------------------------------------------

INSTALLED_APPS = [
    "mist",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.humanize",  # in the pages of allauth that we do not dress
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "channels",
    "rest_framework",
    "drf_spectacular",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.usersessions",
    "guardian",
    "django_celery_beat",
    "core",
    "accounts",
    "keys",
    "clouds",
    "networks",
    "machines",
    "volumes",
    "scripts",
    "frontend",
]
if DEBUG:
    INSTALLED_APPS.insert(0, "daphne")  # its runserver speaks ASGI; Twisted is not worth its memory otherwise

MIDDLEWARE = [
    "core.middleware.RequestMiddleware",
    "frontend.middleware.ConsoleMiddleware",  # so far out that error pages have a policy too
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "allauth.usersessions.middleware.UserSessionsMiddleware",
    "accounts.middleware.SessionRulesMiddleware",
    "frontend.viewer.ViewerMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "frontend" / "templates"],  # before the libraries' own: we dress django-allauth's pages
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "frontend.context.console",
            ]
        },
    }
]
ROOT_URLCONF = "mist.urls"
ASGI_APPLICATION = "mist.asgi.application"
APPEND_SLASH = False
USE_TZ = True
SILENCED_SYSTEM_CHECKS = ["auth.W004"]  # e-mail addresses are unique, by lower case
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en-us"
LANGUAGES = [("en", "English"), ("de", "Deutsch")]
LOCALE_PATHS = [BASE_DIR / "frontend" / "locale"]
USE_I18N = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"  # for the libraries' tables; ours have uuid keys
DATA_UPLOAD_MAX_MEMORY_SIZE = 5 * 1024 * 1024

# --- the three doors -------------------------------------------------------------------------------------------------

# Reasons to refuse, or to show less, in the order they are asked.
ACTION_GUARDS = [
    "core.guard.TenantGuard",
    "accounts.guards.StatementGuard",
    "accounts.guards.TokenGuard",
    "accounts.guards.ApprovalGuard",
]
MIST_OWN_PORTS = {MIST_PORT}  # never dialled on our own addresses, whatever a cloud's host says
MIST_OWN_ADDRESSES: set[str] = {MIST_BIND}

# --- shells ----------------------------------------------------------------------------------------------------------

SHELL_DETACHED_S = 600  # a shell nobody looks at can be come back to for so long

# --- stores ----------------------------------------------------------------------------------------------------------

DATABASES = {"default": env.database("MIST_DATABASE_URL", SOCKET_DIR)}
DATABASES["default"]["CONN_MAX_AGE"] = 0  # any other leaks connections under ASGI; the pool does not
DATABASES["default"]["CONN_HEALTH_CHECKS"] = True  # the pool asks before it lends: a restarted server fails no request
# A list joins what its rows name, each by its key: nothing to reorder. Left to itself the planner takes 50 ms to find that out for ten
# joins, and 1 ms to run them.
_options = DATABASES["default"]["OPTIONS"].get("options", "")
DATABASES["default"]["OPTIONS"] |= {
    "options": f"{_options} -c join_collapse_limit=2".strip(),
    "pool": POOL,
    "connect_timeout": 5,
    "application_name": "mist",
}
# What a server process may wait for; commands (migrate, backup, verify-audit) wait as long as it takes. See mist/roles.py.
SERVER_DATABASE_OPTIONS = "-c statement_timeout=60s -c lock_timeout=10s -c idle_in_transaction_session_timeout=120s"

CACHES = {
    "default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": MIST_REDIS_URL, "KEY_PREFIX": "mist-cache"},
    "process": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "process"},  # is there without Valkey, too
}
CHANNEL_LAYERS = {
    "default": {
        # Five times the core layer's throughput; it may drop: notes carry (scope, version) and readers read again.
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [MIST_REDIS_URL], "prefix": "mist-channels"},
    }
}

# --- Celery: ids in, one claim, one call; state lives in PostgreSQL ---------------------------------------------------

# A class of work never waits behind another: each queue has its own process with its own slots (threads).
QUEUES = {"interactive": 8, "poll": 8, "bulk": 4, "runs": 8, "system": 2}
CELERY_BROKER_URL = MIST_REDIS_URL.replace("unix://", "redis+socket://", 1)
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "global_keyprefix": "mist-celery:",
    "priority_steps": [0, 3],  # canaries pass by what waits: a long queue is not a dead worker
    "queue_order_strategy": "priority",
    "visibility_timeout": 3600,  # what was not acknowledged is delivered again: a claim on its row lets it act once
    "socket_timeout": 30,
    "socket_connect_timeout": 5,
    "socket_keepalive": True,
    "health_check_interval": 15,
    "retry_on_timeout": True,
}
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_TASK_DEFAULT_QUEUE = "system"
CELERY_TASK_DEFAULT_PRIORITY = 3
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_ACKS_LATE = True  # with the claim, a lost delivery is worse than a second one
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = False
CELERY_WORKER_SEND_TASK_EVENTS = False
CELERY_TIMEZONE = "UTC"
CELERY_ENABLE_UTC = True

# --- people ----------------------------------------------------------------------------------------------------------

AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
SILENCED_SYSTEM_CHECKS = [
    "auth.W004",  # e-mail is unique, without regard to case: by a constraint
    "guardian.W001",  # its rows are read by accounts/statements.py, not through a backend
]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.Argon2PasswordHasher", "django.contrib.auth.hashers.PBKDF2PasswordHasher"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
GUARDIAN_RAISE_403 = False
ANONYMOUS_USER_NAME = None  # guardian: a missing user is nobody
LOGIN_URL = "/sign-in"
LOGIN_REDIRECT_URL = "/"
ACCOUNT_ADAPTER = "accounts.adapter.AccountAdapter"
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*", "password2*"]
ACCOUNT_EMAIL_VERIFICATION = "mandatory" if MIST_SIGN_UP else "none"  # who is invited has shown the address to be theirs
ACCOUNT_PREVENT_ENUMERATION = True
ACCOUNT_LOGOUT_ON_GET = False
ACCOUNT_CHANGE_EMAIL = True
ACCOUNT_CONFIRM_EMAIL_ON_GET = False
ACCOUNT_EMAIL_UNKNOWN_ACCOUNTS = False
ACCOUNT_LOGOUT_ON_PASSWORD_CHANGE = False
ACCOUNT_REAUTHENTICATION_REQUIRED = True
ACCOUNT_SESSION_REMEMBER = None
ACCOUNT_EMAIL_SUBJECT_PREFIX = "[Mist] "
ACCOUNT_DEFAULT_HTTP_PROTOCOL = urlsplit(MIST_PUBLIC_URL).scheme
MFA_ADAPTER = "accounts.adapter.MfaAdapter"
MFA_SUPPORTED_TYPES = ["totp", "recovery_codes", "webauthn"]
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_RECOVERY_CODES_SHOW_ONCE = True
MFA_ALLOW_UNVERIFIED_EMAIL = True
MFA_TOTP_ISSUER = "Mist"
MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN = urlsplit(MIST_PUBLIC_URL).hostname in ("localhost", "127.0.0.1")  # browsers do so for localhost alone
USERSESSIONS_TRACK_ACTIVITY = False  # a write a request: when it began is enough

globals().update(env.email("MIST_EMAIL_URL", MIST_HOME / "mail"))
DEFAULT_FROM_EMAIL = env.text("MIST_EMAIL_FROM", f"mist@{urlsplit(MIST_PUBLIC_URL).hostname}")
SERVER_EMAIL = DEFAULT_FROM_EMAIL

# --- the web's dangers -----------------------------------------------------------------------------------------------

_public = urlsplit(MIST_PUBLIC_URL)
ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]", _public.hostname or "localhost"]
CSRF_TRUSTED_ORIGINS = [MIST_PUBLIC_URL]
CSRF_FAILURE_VIEW = "frontend.views.entry.forged"
# Whose pages may open a socket with our cookie: those of the hosts above.
SOCKET_ORIGINS = [MIST_PUBLIC_URL, f"http://localhost:{MIST_PORT}", f"http://127.0.0.1:{MIST_PORT}", f"http://[::1]:{MIST_PORT}"]
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = _public.scheme == "https"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_AGE = 14 * 24 * 3600
SECURE_HSTS_SECONDS = 31_536_000 if _public.scheme == "https" else 0
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"

# --- files -----------------------------------------------------------------------------------------------------------

STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": {"location": MIST_HOME / "files"}},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}

# --- the API ---------------------------------------------------------------------------------------------------------

REST_FRAMEWORK = {
    "DEFAULT_SCHEMA_CLASS": "core.api.schema.Schema",
    "DEFAULT_AUTHENTICATION_CLASSES": ["accounts.auth.TokenAuthentication", "accounts.auth.SessionAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": [],  # rights are asked by visible_to and perform, nowhere else
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "EXCEPTION_HANDLER": "core.api.errors.handle",
    "UNAUTHENTICATED_USER": None,
    "URL_FORMAT_OVERRIDE": None,  # `format=csv` is ours
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Mist",
    "DESCRIPTION": "See, operate, automate, monitor, pay for and govern machines anywhere.",
    "VERSION": "2",
    "OAS_VERSION": "3.0.3",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_AUTHENTICATION": [],
    "SERVE_PERMISSIONS": [],
    "COMPONENT_SPLIT_REQUEST": True,
    "COMPONENT_SPLIT_PATCH": False,  # what an edit takes is optional whichever the method
    "ENUM_ADD_EXPLICIT_BLANK_NULL_CHOICE": False,
    "ENUM_NAME_OVERRIDES": {
        "JobState": "core.models.Job.State",
        "MachineState": "machines.models.Machine.State",
        "SessionState": "machines.models.Session.State",
        "RunState": "scripts.models.Run.State",
        "RunHostState": "scripts.models.RunHost.State",
        "ScriptSource": "scripts.models.Script.Source",
        "ScriptType": "scripts.models.Script.Exec",
    },
}

# --- logs: to standard error, for whoever started us to keep ----------------------------------------------------------

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {"request": {"()": "core.middleware.RequestFilter"}},
    "formatters": {
        "text": {"format": "%(asctime)s %(levelname)-7s %(processName)s %(name)s [%(request_id)s] %(message)s"},
        "json": {"()": "core.middleware.JsonFormatter"},
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": MIST_LOG_FORMAT, "filters": ["request"]}},
    "root": {"handlers": ["stderr"], "level": MIST_LOG_LEVEL},
    "loggers": {
        "uvicorn": {"level": "WARNING"},
        "psycopg.pool": {"level": "ERROR"},  # it tries again, and whoever waits in vain says so
        "django.server": {"handlers": ["stderr"], "propagate": False},
        "django.request": {"level": "ERROR"},
        "httpx": {"level": "WARNING"},
        "asyncssh": {"level": "WARNING"},
        "botocore": {"level": "WARNING"},
        "urllib3": {"level": "ERROR"},
        "celery.worker.strategy": {"level": "WARNING"},
        "celery.app.trace": {"level": "WARNING"},
    },
}
