// What lets a client in: a login and TLS, where the environment says so.
'use strict';
const fs = require('node:fs');

const env = (name) => process.env['TWINRING_' + name] || '';

exports.env = env;

exports.login = () => (env('USER')
  ? { credentials: { username: env('USER'), password: env('PASSWORD') } } : {});

exports.tls = () => (env('TLS_CA') // it checks names, too
  ? { sslOptions: { ca: [fs.readFileSync(env('TLS_CA'))], rejectUnauthorized: true } } : {});
